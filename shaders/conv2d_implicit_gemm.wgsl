// Convolution as a matrix product y = a * w with M = n*outH*outW pixels, N = outC and K = kH*kW*inC, where the row of a
// for pixel n,oh,ow holds x[n,ih,iw,ci] for each k = (kh,kw,ci), is never stored, and is gathered tile by tile
// (lib/gather_x.wgsl).
// x: [n,inH,inW,inC] NHWC, w: [kH,kW,inC,outC] HWIO, b: [outC] (not read without HAS_BIAS), y: [n,outH,outW,outC] NHWC.
// One workgroup computes a tile of TILE_M pixels by TILE_N channels of one split of the sum, one invocation THREAD_M by
// THREAD_N of it in registers. With several splits, y is [splits,n,outH,outW,outC]: partial sums for sum_splits.wgsl, with
// the bias in the first. Writes y (=). conv2d.wgsl is the same without tiles and splits.
// The scheme: https://siboehm.com/articles/22/CUDA-MMM; implicit GEMM: https://arxiv.org/abs/1410.0759
// Constants: LANES_M, LANES_N, THREAD_M, THREAD_N (4 or 8), TILE_K; Stored of x and w (f32 or f16: b, tiles and sums are
// f32); what store_neighbours asks for, of y.
// lib: index, gather_x, register_tile, split, store_neighbours

override HAS_BIAS: bool = true;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU after the bias; 1 is none
// Four neighbouring channels come in one load; the wrapper says so where inC (x) and outC (w) are multiples of 4.
override VEC_X: bool = false;
override VEC_W: bool = false;

const WG_SIZE = LANES_M * LANES_N;
const TILE_M = LANES_M * THREAD_M;
const TILE_N = LANES_N * THREAD_N;
const COLS4 = THREAD_N / 4;
const K4 = TILE_K / 4;
// One vec4 more than a row needs, so that the lanes that write a column do not all meet in the same banks.
const A_STRIDE = TILE_M / 4 + 1;
const B_STRIDE = TILE_N / 4;

struct Params {
  n: i32,
  inH: i32,
  inW: i32,
  inC: i32,
  kH: i32,
  kW: i32,
  outC: i32,
  outH: i32,
  outW: i32,
  strideH: i32,
  strideW: i32,
  dilationH: i32,
  dilationW: i32,
  padTop: i32,
  padLeft: i32,
  splits: i32,
}

// x4 and w4 show x and w in fours; without VEC_X, VEC_W they are not read.
@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> x4: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read> w: array<Stored>;
@group(0) @binding(3) var<storage, read> w4: array<vec4<Stored>>;
@group(0) @binding(4) var<storage, read> b: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<Out>;
@group(0) @binding(6) var<uniform> params: Params;

// [TILE_K][TILE_M / 4] and [TILE_K][TILE_N / 4], four pixels and four channels an element.
var<workgroup> a_tile: array<vec4f, TILE_K * A_STRIDE>;
var<workgroup> b_tile: array<vec4f, TILE_K * B_STRIDE>;

fn load_x(pixel: Pixel, tap: Tap) -> f32 {
  let i = x_index(pixel, tap);
  return select(0.0, f32(x[max(i, 0)]), i >= 0);
}

fn load_x4(pixel: Pixel, tap: Tap) -> vec4f {
  let i = x_index(pixel, tap);
  return select(vec4f(), vec4f(x4[max(i, 0) / 4]), i >= 0);
}

fn load_w4(k: i32, co: i32) -> vec4f {
  if (k >= params.kH * params.kW * params.inC) {
    return vec4f();
  }
  let i = k * params.outC + co;
  if (VEC_W) {
    if (co >= params.outC) {
      return vec4f();
    }
    return vec4f(w4[i / 4]);
  }
  var value = vec4f();
  #unroll c 4
  if (co + $c < params.outC) {
    value[$c] = f32(w[i + $c]);
  }
  #end
  return value;
}

// Writes four channels of a row of a split's product, as far as they exist.
fn store_y4(split: i32, m: i32, co: i32, value: vec4f) {
  let m_count = params.n * params.outH * params.outW;
  if (m < m_count && co < params.outC) {
    let at = (split * m_count + m) * params.outC + co;
    store_neighbours(&y, at, params.outC - co, value);
  }
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let m_count = params.n * params.outH * params.outW;
  let k_count = params.kH * params.kW * params.inC;
  let tiles_m = (m_count + TILE_M - 1) / TILE_M;
  let tiles_n = (params.outC + TILE_N - 1) / TILE_N;
  let index = i32(workgroup_index(workgroup_id, num_workgroups));
  let m_base = index / tiles_n % tiles_m * TILE_M;
  let n_base = index % tiles_n * TILE_N;
  let split = index / tiles_n / tiles_m;
  if (split >= params.splits) {
    return;
  }
  let k_begin = split_begin(split, params.splits, k_count);
  let k_end = split_begin(split + 1, params.splits, k_count);
  let lane = i32(local_index);
  let lane_m = lane / LANES_N;
  let lane_n = lane % LANES_N;

  // Each lane gathers four pixels by four columns of a; lanes side by side, neighbouring channels.
  let a_k = lane % K4 * 4;
  let a_m4 = lane / K4;
  let gathers = a_m4 < TILE_M / 4;
  let a_m = m_base + a_m4 * 4;
  #unroll i 4
  let pixel_$i = pixel_at(a_m + $i, m_count);
  #end

  var acc: RegisterTile; // see lib/register_tile.wgsl
  for (var k_base = k_begin; k_base < k_end; k_base += TILE_K) {
    if (gathers) {
      if (VEC_X) {
        let tap = tap_at(k_base + a_k);
        let columns = transpose(mat4x4f(
          load_x4(pixel_0, tap), load_x4(pixel_1, tap), load_x4(pixel_2, tap), load_x4(pixel_3, tap),
        ));
        #unroll j 4
        a_tile[(a_k + $j) * A_STRIDE + a_m4] = columns[$j];
        #end
      } else {
        for (var j = 0; j < 4; j++) {
          let tap = tap_at(k_base + a_k + j);
          a_tile[(a_k + j) * A_STRIDE + a_m4] =
            vec4f(load_x(pixel_0, tap), load_x(pixel_1, tap), load_x(pixel_2, tap), load_x(pixel_3, tap));
        }
      }
    }
    for (var i = lane; i < TILE_K * B_STRIDE; i += WG_SIZE) {
      b_tile[i] = load_w4(k_base + i / B_STRIDE, n_base + i % B_STRIDE * 4);
    }
    workgroupBarrier();
    // Not TILE_K as such: software adapters would unroll the loop and compile for seconds.
    let k_tile = min(TILE_K, k_end - k_base);
    multiply_slice(&acc, k_tile, lane_m, lane_n);
    workgroupBarrier();
  }

  #unroll j THREAD_N / 4
  {
    let co = n_base + (lane_n + $j * LANES_N) * 4;
    var bias = vec4f();
    #unroll c 4
    if (HAS_BIAS && split == 0 && co + $c < params.outC) {
      bias[$c] = b[co + $c];
    }
    #end
    #unroll i THREAD_M / 4
    #unroll r 4
    {
      let m = m_base + (lane_m + $i * LANES_M) * 4 + $r;
      let value = acc[($i * 4 + $r) * COLS4 + $j] + bias;
      store_y4(split, m, co, select(LEAKY_SLOPE * value, value, value > vec4f()));
    }
    #end
    #end
  }
  #end
}
