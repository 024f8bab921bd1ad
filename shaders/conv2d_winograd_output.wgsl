// Winograd convolution, output transform: each tile of OUT_TILE x OUT_TILE pixels of y is A^T m A + b, where m holds the
// products of its transformed input with the transformed filter, summed over channels.
// m: [IN_TILE * IN_TILE][tiles,mC] with `mPoint` from one of the points to the next, b: [outC] (not read without HAS_BIAS),
// y: [n,outH,outW,yC] NHWC, mC >= yC. m holds the tiles firstTile and following of all n * tilesH * tilesW.
// One invocation computes a tile of one channel. Writes y (=), as far as it reaches.
// lib/winograd.wgsl has the matrices.
// Constants: Stored (f32 or f16, of y), OUT_TILE, IN_TILE.
// lib: index, winograd

override WG_SIZE: u32 = 64;
override HAS_BIAS: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU at the end; 1 is none

struct Params {
  outH: i32,
  outW: i32,
  yC: i32,
  mC: i32,
  mPoint: i32,
  firstTile: i32,
  tiles: i32,
  tilesH: i32,
  tilesW: i32,
}

@group(0) @binding(0) var<storage, read> m: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

fn activated(value: f32) -> f32 {
  return select(LEAKY_SLOPE * value, value, value > 0.0);
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.tiles * p.yC) {
    return;
  }
  let c = i % p.yC;
  let at = i / p.yC * p.mC + c;
  let tile = p.firstTile + i / p.yC;
  let n = tile / p.tilesW / p.tilesH;
  let oh = OUT_TILE * (tile / p.tilesW % p.tilesH);
  let ow = OUT_TILE * (tile % p.tilesW);

  var t: array<Line, IN_TILE>; // the columns of A^T m
  #unroll s IN_TILE
  {
    var column: Line;
    #unroll r IN_TILE
    column[$r] = m[at + ($r * IN_TILE + $s) * p.mPoint];
    #end
    t[$s] = evaluate_transposed(column, OUT_TILE);
  }
  #end
  var bias = 0.0;
  if (HAS_BIAS) {
    bias = b[c];
  }
  #unroll r OUT_TILE
  if (oh + $r < p.outH) {
    var row: Line;
    #unroll s IN_TILE
    row[$s] = t[$s][$r];
    #end
    row = evaluate_transposed(row, OUT_TILE);
    let y_row = ((n * p.outH + oh + $r) * p.outW + ow) * p.yC + c;
    #unroll s OUT_TILE
    if (ow + $s < p.outW) {
      y[y_row + $s * p.yC] = Stored(activated(row[$s] + bias));
    }
    #end
  }
  #end
}
