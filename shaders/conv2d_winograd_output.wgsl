// Winograd convolution F(2x2,3x3), output transform: each tile of 2x2 pixels of y is A^T m A + b, where m holds the 4x4
// products of its transformed input with the transformed filter, summed over channels, and
//   A^T = [ 1  1  1  0 ]
//         [ 0  1 -1 -1 ].
// m: [16][tiles,mC] with `mPoint` from one of the 16 points to the next, b: [outC] (not read without HAS_BIAS),
// y: [n,outH,outW,yC] NHWC; channels are counted in Values, mC >= yC. m holds the tiles firstTile and following of all
// n * tilesH * tilesW. One invocation computes a tile of one Value of channels. Writes y (=), as far as it reaches.
// Reference: Lavin & Gray 2015, https://arxiv.org/abs/1509.09308, section 4.1.
// Constants: Value (f32 or vec4f).
// lib: index

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

@group(0) @binding(0) var<storage, read> m: array<Value>;
@group(0) @binding(1) var<storage, read> b: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;

fn activated(value: Value) -> Value {
  return select(LEAKY_SLOPE * value, value, value > Value());
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
  let oh = 2 * (tile / p.tilesW % p.tilesH);
  let ow = 2 * (tile % p.tilesW);

  var t: array<array<Value, 4>, 2>; // A^T m
  #unroll s 4
  {
    let m_0 = m[at + $s * p.mPoint];
    let m_1 = m[at + (4 + $s) * p.mPoint];
    let m_2 = m[at + (8 + $s) * p.mPoint];
    let m_3 = m[at + (12 + $s) * p.mPoint];
    t[0][$s] = m_0 + m_1 + m_2;
    t[1][$s] = m_1 - m_2 - m_3;
  }
  #end
  var bias = Value();
  if (HAS_BIAS) {
    bias = b[c];
  }
  #unroll r 2
  if (oh + $r < p.outH) {
    let y_row = ((n * p.outH + oh + $r) * p.outW + ow) * p.yC + c;
    y[y_row] = activated(t[$r][0] + t[$r][1] + t[$r][2] + bias);
    if (ow + 1 < p.outW) {
      y[y_row + p.yC] = activated(t[$r][1] - t[$r][2] - t[$r][3] + bias);
    }
  }
  #end
}
