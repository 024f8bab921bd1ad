// Winograd convolution F(2x2,3x3), input transform: v = B^T d B for each tile d of 4x4 pixels of x, where tile (th, tw)
// starts at row 2 * th + originH and column 2 * tw + originW, pixels outside of x count as 0, and
//   B^T = [ 1  0 -1  0 ]
//         [ 0  1  1  0 ]
//         [ 0 -1  1  0 ]
//         [ 0  1  0 -1 ].
// x: [n,inH,inW,xC] NHWC, v: [16][tiles,vC] with `vPoint` from one of the 16 points to the next; channels are counted in
// Values. v holds the tiles firstTile and following of all n * tilesH * tilesW, and zeros in channels past xC.
// One invocation computes a tile of one Value of channels. Writes v (=).
// Reference: Lavin & Gray 2015, https://arxiv.org/abs/1509.09308, section 4.1.
// Constants: Value (f32 or vec4f).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  inH: i32,
  inW: i32,
  xC: i32,
  vC: i32,
  vPoint: i32,
  firstTile: i32,
  tiles: i32,
  tilesH: i32,
  tilesW: i32,
  originH: i32,
  originW: i32,
}

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> v: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;

fn x_at(n: i32, ih: i32, iw: i32, c: i32) -> Value {
  let p = params;
  let inside = ih >= 0 && ih < p.inH && iw >= 0 && iw < p.inW && c < p.xC;
  return select(Value(), x[select(0, ((n * p.inH + ih) * p.inW + iw) * p.xC + c, inside)], inside);
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.tiles * p.vC) {
    return;
  }
  let c = i % p.vC;
  let tile = p.firstTile + i / p.vC;
  let n = tile / p.tilesW / p.tilesH;
  let ih = 2 * (tile / p.tilesW % p.tilesH) + p.originH;
  let iw = 2 * (tile % p.tilesW) + p.originW;

  var t: array<array<Value, 4>, 4>; // B^T d
  #unroll s 4
  {
    let d_0 = x_at(n, ih, iw + $s, c);
    let d_1 = x_at(n, ih + 1, iw + $s, c);
    let d_2 = x_at(n, ih + 2, iw + $s, c);
    let d_3 = x_at(n, ih + 3, iw + $s, c);
    t[0][$s] = d_0 - d_2;
    t[1][$s] = d_1 + d_2;
    t[2][$s] = d_2 - d_1;
    t[3][$s] = d_1 - d_3;
  }
  #end
  #unroll r 4
  v[i + (4 * $r) * p.vPoint] = t[$r][0] - t[$r][2];
  v[i + (4 * $r + 1) * p.vPoint] = t[$r][1] + t[$r][2];
  v[i + (4 * $r + 2) * p.vPoint] = t[$r][2] - t[$r][1];
  v[i + (4 * $r + 3) * p.vPoint] = t[$r][1] - t[$r][3];
  #end
}
