// Copies a block of blocks x rows x columns elements between two strided layouts; where the source ends, zeros follow:
// y[yOffset + t*yBlock + i*yRow + j] = x[xOffset + t*xBlock + i*xRow + j*xColumn], or 0 where i >= xRows or j >= xColumns.
// It pads channels to a multiple of 4, transposes filters, and cuts padding off again.
// x, y: any layout, as XStored and Stored, each f32 or f16. One invocation copies one element.
// Writes y (=), or (+=) with ACCUMULATE.
// lib: index

override WG_SIZE: u32 = 64;
override ACCUMULATE: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU at the end; 1 is none

struct Params {
  blocks: u32,
  rows: u32,
  columns: u32,
  xOffset: u32,
  xBlock: u32,
  xRow: u32,
  xColumn: u32,
  xRows: u32,
  xColumns: u32,
  yOffset: u32,
  yBlock: u32,
  yRow: u32,
}

@group(0) @binding(0) var<storage, read> x: array<XStored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let index = workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index;
  if (index >= p.blocks * p.rows * p.columns) {
    return;
  }
  let j = index % p.columns;
  let i = (index / p.columns) % p.rows;
  let t = index / p.columns / p.rows;
  var value = 0.0;
  if (i < p.xRows && j < p.xColumns) {
    value = f32(x[p.xOffset + t * p.xBlock + i * p.xRow + j * p.xColumn]);
  }
  let at = p.yOffset + t * p.yBlock + i * p.yRow + j;
  if (ACCUMULATE) {
    value += f32(y[at]);
  }
  y[at] = Stored(select(LEAKY_SLOPE * value, value, value > 0.0));
}
