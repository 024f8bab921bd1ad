// First pass of a bias gradient: partials[s,c] = sum of dy[row,c] over the rows of split s, s * rowsPerSplit and on.
// dy: [rows,c] in Stored, f32 or f16, partials: [splits,c]. One workgroup sums one split for CHANNEL_LANES channels: its
// other lanes take every (WG_SIZE / CHANNEL_LANES)-th row, and the lanes of a channel are added as a tree.
// Writes partials (=).
// lib: channel_sum

override WG_SIZE: u32 = 64;
override CHANNEL_LANES: u32 = 64;

struct Params {
  rows: u32,
  c: u32,
  rowsPerSplit: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<Stored>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

alias Value = f32; // of the sums

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let split = workgroup_id.y;
  let c = workgroup_id.x * CHANNEL_LANES + local_index % CHANNEL_LANES;
  let end = min((split + 1) * params.rowsPerSplit, params.rows);
  var acc = 0.0;
  if (c < params.c) {
    var row = split * params.rowsPerSplit + local_index / CHANNEL_LANES;
    for (; row < end; row += WG_SIZE / CHANNEL_LANES) {
      acc += f32(dy[row * params.c + c]);
    }
  }
  let sum = channel_sum(acc, local_index);
  if (local_index < CHANNEL_LANES && c < params.c) {
    partials[split * params.c + c] = sum;
  }
}
