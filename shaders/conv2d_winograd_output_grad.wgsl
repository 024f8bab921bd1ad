// Winograd weight gradient, the transpose of the output transform: z = A e A^T for each tile e of 2x2 pixels of dy, where
//   A = [ 1  0 ]
//       [ 1  1 ]
//       [ 1 -1 ]
//       [ 0 -1 ].
// dy: [n,outH,outW,yC] NHWC, z: [16][tiles,zC] with `zPoint` from one of the 16 points to the next; channels are counted in
// Values. z holds the tiles firstTile and following of all n * tilesH * tilesW, and zeros in channels past yC.
// One invocation computes a tile of one Value of channels. Writes z (=).
// conv2d_winograd_output.wgsl is the transform itself.
// Constants: Value (f32 or vec4f).
// lib: index

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

@group(0) @binding(0) var<storage, read> dy: array<Value>;
@group(0) @binding(1) var<storage, read_write> z: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;

fn dy_at(n: i32, oh: i32, ow: i32, c: i32) -> Value {
  let p = params;
  let inside = oh < p.outH && ow < p.outW && c < p.yC;
  return select(Value(), dy[select(0, ((n * p.outH + oh) * p.outW + ow) * p.yC + c, inside)], inside);
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
  let oh = 2 * (tile / p.tilesW % p.tilesH);
  let ow = 2 * (tile % p.tilesW);

  var t: array<array<Value, 2>, 4>; // A e
  #unroll s 2
  {
    let e_0 = dy_at(n, oh, ow + $s, c);
    let e_1 = dy_at(n, oh + 1, ow + $s, c);
    t[0][$s] = e_0;
    t[1][$s] = e_0 + e_1;
    t[2][$s] = e_0 - e_1;
    t[3][$s] = -e_1;
  }
  #end
  #unroll r 4
  z[i + (4 * $r) * p.zPoint] = t[$r][0];
  z[i + (4 * $r + 1) * p.zPoint] = t[$r][0] + t[$r][1];
  z[i + (4 * $r + 2) * p.zPoint] = t[$r][0] - t[$r][1];
  z[i + (4 * $r + 3) * p.zPoint] = -t[$r][1];
  #end
}
