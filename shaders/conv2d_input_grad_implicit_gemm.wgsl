// Gradient of a convolution's input as a matrix product dx = a * wT with M = n*inH*inW pixels, N = inC and
// K = kH*kW*outC, where the row of a for pixel n,ih,iw holds dy[n,oh,ow,co] for each k = (kh,kw,co), 0 where no oh,ow reads
// ih,iw through kh,kw, is never stored, and is gathered tile by tile. wT[k,ci] = w[kh,kw,ci,co].
// dy: [n,outH,outW,outC] NHWC, w: [kH,kW,inC,outC] HWIO, dx: [n,inH,inW,inC] NHWC.
// One workgroup computes a tile of TILE_M pixels by TILE_N channels of one split of the sum, one invocation THREAD_M by
// THREAD_N of it in registers. With a stride, tiles are of pixels of one phase (lib/phase.wgsl), whose sums have only the
// taps through which they are read: each phase splits its own. With several splits, dx is [splits,n,inH,inW,inC]: partial
// sums for sum_splits.wgsl, zeros where a phase has no taps.
// Writes dx (=). conv2d_input_grad.wgsl is the same without tiles and splits.
// Constants: LANES_M, LANES_N, THREAD_M, THREAD_N (4 or 8), TILE_K; Stored of dy and w (f32 or f16: tiles and sums are f32);
// what store_neighbours asks for, of dx.
// lib: index, phase, register_tile, split, store_neighbours

// Four neighbouring channels come in one load; the wrapper says so where outC is a multiple of 4.
override VEC_K: bool = false;
// Any stride above 1: without, there is one phase of all pixels and taps.
override STRIDED: bool = true;

const WG_SIZE = LANES_M * LANES_N;
const TILE_M = LANES_M * THREAD_M;
const TILE_N = LANES_N * THREAD_N;
const COLS4 = THREAD_N / 4;
const K4 = TILE_K / 4;
// One vec4 more than a row needs, so that the lanes that write a column do not all meet in the same banks.
const A_STRIDE = TILE_M / 4 + 1;
const B_STRIDE = TILE_N / 4 + 1;

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
  tapStepH: i32, // see lib/phase.wgsl
  tapStepW: i32,
  splits: i32,
}

// dy4 and w4 show dy and w in fours; without VEC_K they are not read.
@group(0) @binding(0) var<storage, read> dy: array<Stored>;
@group(0) @binding(1) var<storage, read> dy4: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read> w: array<Stored>;
@group(0) @binding(3) var<storage, read> w4: array<vec4<Stored>>;
@group(0) @binding(4) var<storage, read_write> dx: array<Out>;
@group(0) @binding(5) var<uniform> params: Params;

// [TILE_K][TILE_M / 4] and [TILE_K][TILE_N / 4], four pixels and four channels an element.
var<workgroup> a_tile: array<vec4f, TILE_K * A_STRIDE>;
var<workgroup> b_tile: array<vec4f, TILE_K * B_STRIDE>;

// What this workgroup computes: rows and columns phase_h, phase_h + strideH, ... and phase_w, phase_w + strideW, ...
var<private> phase_h = 0;
var<private> phase_w = 0;
var<private> rows: Phase;
var<private> columns: Phase;

// An input pixel, counted from the corner of the padding.
struct Pixel {
  n: i32,
  row: i32,
  column: i32,
}

// A column of a: where in the filter (-1 past its end), how far that is in x, and which channel.
struct Tap {
  index: i32,
  dh: i32,
  dw: i32,
  co: i32,
}

fn pixel_at(m: i32) -> Pixel {
  let p = params;
  let row = m / columns.pixels;
  let n = row / rows.pixels;
  // Past the last pixel: so far above dy that every load gives 0.
  let ih = select((row - n * rows.pixels) * p.strideH + phase_h, -0x40000000, n >= p.n);
  return Pixel(n, ih + p.padTop, (m - row * columns.pixels) * p.strideW + phase_w + p.padLeft);
}

// Where in dx a pixel of the phase lies.
fn dx_pixel(m: i32) -> i32 {
  if (!STRIDED) {
    return m;
  }
  let row = m / columns.pixels;
  let n = row / rows.pixels;
  let ih = (row - n * rows.pixels) * params.strideH + phase_h;
  return (n * params.inH + ih) * params.inW + (m - row * columns.pixels) * params.strideW + phase_w;
}

fn tap_at(k: i32) -> Tap {
  let tap = k / params.outC;
  let row = tap / columns.taps;
  let kh = rows.first + row * params.tapStepH;
  let kw = columns.first + (tap - row * columns.taps) * params.tapStepW;
  // Past the last tap: so far down that every load gives 0.
  let past = row >= rows.taps;
  let dh = select(kh * params.dilationH, 0x20000000, past);
  return Tap(select(kh * params.kW + kw, -1, past), dh, kw * params.dilationW, k - tap * params.outC);
}

// The element of dy that reads a pixel through a tap, or -1 where there is none.
fn dy_index(pixel: Pixel, tap: Tap) -> i32 {
  let row = pixel.row - tap.dh;
  let column = pixel.column - tap.dw;
  var oh = row;
  var ow = column;
  if (STRIDED) { // these divide, by the choice of taps
    oh = row / params.strideH;
    ow = column / params.strideW;
  }
  let read = row >= 0 && oh < params.outH && column >= 0 && ow < params.outW;
  return select(-1, ((pixel.n * params.outH + oh) * params.outW + ow) * params.outC + tap.co, read);
}

fn load_dy(pixel: Pixel, tap: Tap) -> f32 {
  let i = dy_index(pixel, tap);
  return select(0.0, f32(dy[max(i, 0)]), i >= 0);
}

fn load_dy4(pixel: Pixel, tap: Tap) -> vec4f {
  let i = dy_index(pixel, tap);
  return select(vec4f(), vec4f(dy4[max(i, 0) / 4]), i >= 0);
}

// The element of w for a tap, or -1 outside.
fn w_index(ci: i32, tap: Tap) -> i32 {
  let inside = ci < params.inC && tap.index >= 0;
  return select(-1, (tap.index * params.inC + ci) * params.outC + tap.co, inside);
}

fn load_w(ci: i32, tap: Tap) -> f32 {
  let i = w_index(ci, tap);
  return select(0.0, f32(w[max(i, 0)]), i >= 0);
}

fn load_w4(ci: i32, tap: Tap) -> vec4f {
  let i = w_index(ci, tap);
  return select(vec4f(), vec4f(w4[max(i, 0) / 4]), i >= 0);
}

// Writes four channels of a row of a split's product, as far as they exist.
fn store_dx4(split: i32, m: i32, ci: i32, value: vec4f) {
  let p = params;
  if (m < p.n * rows.pixels * columns.pixels && ci < p.inC) {
    let at = (split * p.n * p.inH * p.inW + dx_pixel(m)) * p.inC + ci;
    store_neighbours(&dx, at, p.inC - ci, value);
  }
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let tiles_n = (p.inC + TILE_N - 1) / TILE_N;
  // As many tiles for each phase as the first has, which is the largest.
  let most = p.n * ((p.inH + p.strideH - 1) / p.strideH) * ((p.inW + p.strideW - 1) / p.strideW);
  let tiles = (most + TILE_M - 1) / TILE_M * tiles_n;
  let index = i32(workgroup_index(workgroup_id, num_workgroups));
  let tile = index % tiles;
  let phases = p.strideH * p.strideW;
  let split = index / tiles / phases;
  if (split >= p.splits) {
    return;
  }
  var row_phase = Phase(p.inH, 0, p.kH);
  var column_phase = Phase(p.inW, 0, p.kW);
  if (STRIDED) {
    let phase = index / tiles % phases;
    phase_h = phase / p.strideW;
    phase_w = phase % p.strideW;
    row_phase = phase_of(phase / p.strideW, p.inH, p.kH, p.strideH, p.dilationH, p.padTop, p.tapStepH);
    column_phase = phase_of(phase % p.strideW, p.inW, p.kW, p.strideW, p.dilationW, p.padLeft, p.tapStepW);
  }
  // Copies: the compiler takes no loop with a barrier for uniform that goes by private variables.
  rows = row_phase;
  columns = column_phase;
  let m_count = p.n * row_phase.pixels * column_phase.pixels;
  let k_count = row_phase.taps * column_phase.taps * p.outC;
  let m_base = tile / tiles_n * TILE_M;
  let n_base = tile % tiles_n * TILE_N;
  if (m_base >= m_count) {
    return;
  }
  let k_begin = split_begin(split, p.splits, k_count);
  let k_end = split_begin(split + 1, p.splits, k_count);
  let lane = i32(local_index);
  let lane_m = lane / LANES_N;
  let lane_n = lane % LANES_N;

  // Each lane gathers four pixels by four columns of a, and four rows of wT by four channels of x: the same four k.
  // Lanes side by side read neighbouring channels of dy and of w.
  let lane_k = lane % K4 * 4;
  let lane_4 = lane / K4;
  let a_m = m_base + lane_4 * 4;
  let b_ci = n_base + lane_4 * 4;
  #unroll i 4
  let pixel_$i = pixel_at(a_m + $i);
  #end

  var acc: RegisterTile; // see lib/register_tile.wgsl
  for (var k_base = k_begin; k_base < k_end; k_base += TILE_K) {
    let k_0 = k_base + lane_k;
    if (VEC_K) {
      let tap = tap_at(k_0);
      if (lane_4 < TILE_M / 4) {
        let columns = transpose(mat4x4f(
          load_dy4(pixel_0, tap), load_dy4(pixel_1, tap), load_dy4(pixel_2, tap), load_dy4(pixel_3, tap),
        ));
        #unroll j 4
        a_tile[(lane_k + $j) * A_STRIDE + lane_4] = columns[$j];
        #end
      }
      if (lane_4 < TILE_N / 4) {
        let columns = transpose(mat4x4f(
          load_w4(b_ci, tap), load_w4(b_ci + 1, tap), load_w4(b_ci + 2, tap), load_w4(b_ci + 3, tap),
        ));
        #unroll j 4
        b_tile[(lane_k + $j) * B_STRIDE + lane_4] = columns[$j];
        #end
      }
    } else {
      for (var j = 0; j < 4; j++) {
        let tap = tap_at(k_0 + j);
        if (lane_4 < TILE_M / 4) {
          a_tile[(lane_k + j) * A_STRIDE + lane_4] =
            vec4f(load_dy(pixel_0, tap), load_dy(pixel_1, tap), load_dy(pixel_2, tap), load_dy(pixel_3, tap));
        }
        if (lane_4 < TILE_N / 4) {
          b_tile[(lane_k + j) * B_STRIDE + lane_4] =
            vec4f(load_w(b_ci, tap), load_w(b_ci + 1, tap), load_w(b_ci + 2, tap), load_w(b_ci + 3, tap));
        }
      }
    }
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
    let ci = n_base + (lane_n + $j * LANES_N) * 4;
    store_dx4(split, m, ci, acc[($i * 4 + $r) * COLS4 + $j]);
  }
  #end
  #end
  #end
}
