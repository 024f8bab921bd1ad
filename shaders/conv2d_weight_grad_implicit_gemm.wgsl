// Gradient of a convolution's filter as a matrix product dw = aT * dy with M = kH*kW*inC, N = outC and K = n*outH*outW
// pixels, where aT[m,k] holds x[n,ih,iw,ci] for m = (kh,kw,ci) and pixel k = (n,oh,ow), is never stored, and is gathered tile
// by tile (lib/gather_x.wgsl). The pixels are split: split s sums s * pixelsPerSplit and on, and sum_splits.wgsl adds the
// parts.
// x: [n,inH,inW,inC] NHWC, dy: [n,outH,outW,outC] NHWC, partials: [splits,kH,kW,inC,outC] HWIO.
// One workgroup computes a tile of TILE_M by TILE_N of one split, one invocation THREAD_M by THREAD_N of it in registers.
// Writes partials (=). conv2d_weight_grad.wgsl is the same without tiles and splits.
// Constants: LANES_M, LANES_N, THREAD_M, THREAD_N (4 or 8), TILE_K = LANES_M, so that each lane gathers from one pixel;
// Stored (f32 or f16: partials, tiles and sums are f32); what store_neighbours asks for, of partials.
// lib: index, gather_x, register_tile, store_neighbours

// Four neighbouring channels come in one load; the wrapper says so where inC (x) and outC (dy) are multiples of 4.
override VEC_X: bool = false;
override VEC_DY: bool = false;

const WG_SIZE = LANES_M * LANES_N;
const TILE_M = LANES_M * THREAD_M;
const TILE_N = LANES_N * THREAD_N;
const COLS4 = THREAD_N / 4;
const A_STRIDE = TILE_M / 4;
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
  pixelsPerSplit: i32,
}

// x4 and dy4 show x and dy in fours; without VEC_X, VEC_DY they are not read.
@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> x4: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read> dy: array<Stored>;
@group(0) @binding(3) var<storage, read> dy4: array<vec4<Stored>>;
@group(0) @binding(4) var<storage, read_write> partials: array<Out>;
@group(0) @binding(5) var<uniform> params: Params;

// [TILE_K][TILE_M / 4] and [TILE_K][TILE_N / 4], four rows and four channels an element; the taps of the tile's rows.
var<workgroup> a_tile: array<vec4f, TILE_K * A_STRIDE>;
var<workgroup> b_tile: array<vec4f, TILE_K * B_STRIDE>;
var<workgroup> taps: array<Tap, TILE_M>;

fn load_x4(pixel: Pixel, row: i32) -> vec4f {
  var value = vec4f();
  if (VEC_X) {
    let i = x_index(pixel, taps[row]);
    return select(value, vec4f(x4[max(i, 0) / 4]), i >= 0);
  }
  #unroll c 4
  {
    let i = x_index(pixel, taps[row + $c]);
    value[$c] = select(0.0, f32(x[max(i, 0)]), i >= 0);
  }
  #end
  return value;
}

fn load_dy4(k: i32, k_end: i32, co: i32) -> vec4f {
  var value = vec4f();
  if (k >= k_end) {
    return value;
  }
  let i = k * params.outC + co;
  if (VEC_DY) {
    if (co < params.outC) {
      value = vec4f(dy4[i / 4]);
    }
    return value;
  }
  #unroll c 4
  if (co + $c < params.outC) {
    value[$c] = f32(dy[i + $c]);
  }
  #end
  return value;
}

// Writes four channels of a row of a split's product, as far as they exist.
fn store_partials4(split: i32, m: i32, co: i32, value: vec4f) {
  let m_count = params.kH * params.kW * params.inC;
  if (m < m_count && co < params.outC) {
    let at = (split * m_count + m) * params.outC + co;
    store_neighbours(&partials, at, params.outC - co, value);
  }
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let m_count = params.kH * params.kW * params.inC;
  let tiles_m = (m_count + TILE_M - 1) / TILE_M;
  let tiles_n = (params.outC + TILE_N - 1) / TILE_N;
  let index = i32(workgroup_index(workgroup_id, num_workgroups));
  let m_base = index / tiles_n % tiles_m * TILE_M;
  let n_base = index % tiles_n * TILE_N;
  let split = index / tiles_n / tiles_m;
  if (split >= params.splits) {
    return;
  }
  let k_begin = split * params.pixelsPerSplit;
  let k_end = min(k_begin + params.pixelsPerSplit, params.n * params.outH * params.outW);
  let lane = i32(local_index);
  let lane_m = lane / LANES_N;
  let lane_n = lane % LANES_N;

  for (var i = lane; i < TILE_M; i += WG_SIZE) {
    taps[i] = tap_at(m_base + i);
  }
  workgroupBarrier();

  var acc: RegisterTile; // see lib/register_tile.wgsl
  for (var k_base = k_begin; k_base < k_end; k_base += TILE_K) {
    // Each lane gathers from pixel lane_m of the tile; lanes side by side read neighbouring channels.
    let k_lane = k_base + lane_m;
    let pixel = pixel_at(k_lane, k_end);
    for (var m4 = lane_n; m4 < TILE_M / 4; m4 += LANES_N) {
      a_tile[lane_m * A_STRIDE + m4] = load_x4(pixel, m4 * 4);
    }
    #unroll j THREAD_N / 4
    {
      let n4 = lane_n + $j * LANES_N;
      b_tile[lane_m * B_STRIDE + n4] = load_dy4(k_lane, k_end, n_base + n4 * 4);
    }
    #end
    workgroupBarrier();
    // Not TILE_K as such: software adapters would unroll the loop and compile for seconds.
    let k_tile = min(TILE_K, k_end - k_base);
    multiply_slice(&acc, k_tile, lane_m, lane_n);
    workgroupBarrier();
  }

  #unroll i THREAD_M / 4
  #unroll r 4
  #unroll j THREAD_N / 4
  {
    let m = m_base + (lane_m + $i * LANES_M) * 4 + $r;
    let co = n_base + (lane_n + $j * LANES_N) * 4;
    store_partials4(split, m, co, acc[($i * 4 + $r) * COLS4 + $j]);
  }
  #end
  #end
  #end
}
