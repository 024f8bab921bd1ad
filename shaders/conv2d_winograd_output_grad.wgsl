// Winograd weight gradient, the transpose of the output transform: z = A e A^T for each tile e of OUT_TILE x OUT_TILE
// pixels of dy.
// dy: [n,outH,outW,yC] NHWC, z: [IN_TILE * IN_TILE][tiles,zC] with `zPoint` from one of the points to the next. z holds
// the tiles firstTile and following of all n * tilesH * tilesW, and zeros in channels past yC. One invocation computes a
// tile of one channel. Writes z (=).
// conv2d_winograd_output.wgsl is the transform itself, lib/winograd.wgsl has the matrices.
// Constants: Stored (f32 or f16, of dy), OUT_TILE, IN_TILE.
// lib: index, winograd

override WG_SIZE: u32 = 64;

struct Params {
  outH: i32,
  outW: i32,
  yC: i32,
  zC: i32,
  zPoint: i32,
  firstTile: i32,
  tiles: i32,
  tilesH: i32,
  tilesW: i32,
}

@group(0) @binding(0) var<storage, read> dy: array<Stored>;
@group(0) @binding(1) var<storage, read_write> z: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn dy_at(n: i32, oh: i32, ow: i32, c: i32) -> f32 {
  let p = params;
  let inside = oh < p.outH && ow < p.outW && c < p.yC;
  return select(0.0, f32(dy[select(0, ((n * p.outH + oh) * p.outW + ow) * p.yC + c, inside)]), inside);
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.tiles * p.zC) {
    return;
  }
  let c = i % p.zC;
  let tile = p.firstTile + i / p.zC;
  let n = tile / p.tilesW / p.tilesH;
  let oh = OUT_TILE * (tile / p.tilesW % p.tilesH);
  let ow = OUT_TILE * (tile % p.tilesW);

  var t: array<Line, OUT_TILE>; // the columns of A e
  #unroll s OUT_TILE
  {
    var column: Line;
    #unroll r OUT_TILE
    column[$r] = dy_at(n, oh + $r, ow + $s, c);
    #end
    t[$s] = evaluate(column, OUT_TILE);
  }
  #end
  #unroll r IN_TILE
  {
    var row: Line;
    #unroll s OUT_TILE
    row[$s] = t[$s][$r];
    #end
    row = evaluate(row, OUT_TILE);
    #unroll s IN_TILE
    z[i + ($r * IN_TILE + $s) * p.zPoint] = row[$s];
    #end
  }
  #end
}
