// Gradient of a convolution's filter as a matrix product by subgroup matrices (tensor cores): dw = aT * dy as in
// conv2d_weight_grad_implicit_gemm.wgsl, with M = kH*kW*inC, N = outC and K = n*outH*outW pixels, aT gathered from x tile
// by tile. The pixels are split: split s sums s * pixelsPerSplit and on, and sum_splits.wgsl adds the parts.
// x: [n,inH,inW,inC] NHWC, dy: [n,outH,outW,outC] NHWC, both float16; partials: [splits,kH,kW,inC,outC] HWIO, float32 as
// all sums are. outC is a multiple of 8.
// Tiles, subgroups and constants are those of conv2d_subgroup_matrix.wgsl, but that a lies in columns of aT: x has the
// channels of M side by side. Writes partials (=).
// lib: index, subgroup_matrix

enable f16, subgroups;

// Eight neighbouring channels come in one load; the wrapper says so where inC is a multiple of 8.
override VEC_X: bool = false;

const WG_SIZE = LANES * SUBGROUPS_M * SUBGROUPS_N;
const TILE_M = SUBGROUPS_M * ROWS * MATRIX_M;
const TILE_N = SUBGROUPS_N * COLS * MATRIX_N;
const M8 = TILE_M / 8;
const N8 = TILE_N / 8;
// One element more than a row needs, so that eight rows, which a matrix loads at once, do not meet in the same banks.
const A_STRIDE = M8 + 1;
const B_STRIDE = N8 + 1;
const SUMS_STRIDE = TILE_N / 4 + 1;
const A_SIZE = TILE_K * A_STRIDE;
const B_SIZE = TILE_K * B_STRIDE;
const SUMS_SIZE = SUBGROUPS_M * MATRIX_M * SUMS_STRIDE;

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

// x8 and dy8 show x and dy with eight channels an element; x8 is not read without VEC_X.
@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read> x8: array<vec4u>;
@group(0) @binding(2) var<storage, read> dy8: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

// First the operands, a as [TILE_K][TILE_M] and b as [TILE_K][TILE_N], eight float16 an element; in the end the sums of
// a row of matrices of each subgroup, [SUBGROUPS_M * MATRIX_M][TILE_N], four float32 an element.
var<workgroup> tiles: array<vec4u, max(A_SIZE + B_SIZE, SUMS_SIZE)>;

// A row of aT: how far into the filter and which channel.
struct Tap {
  dh: i32,
  dw: i32,
  ci: i32,
}

// Where in x an output pixel's filter begins.
struct Pixel {
  n: i32,
  ih: i32,
  iw: i32,
}

fn tap_at(m: i32) -> Tap {
  let tap = m / params.inC;
  let kh = tap / params.kW;
  let kw = tap - kh * params.kW;
  // Past the last tap: so far below x that every load gives 0.
  let dh = select(kh * params.dilationH, 0x20000000, kh >= params.kH);
  return Tap(dh, kw * params.dilationW, m - tap * params.inC);
}

fn pixel_at(k: i32, k_end: i32) -> Pixel {
  let p = params;
  let row = k / p.outW;
  let n = row / p.outH;
  let oh = row - n * p.outH;
  let ow = k - row * p.outW;
  // Past the split's last pixel: so far above x that every load gives 0.
  let ih = select(oh * p.strideH - p.padTop, -0x40000000, k >= k_end);
  return Pixel(n, ih, ow * p.strideW - p.padLeft);
}

// The element of x under a tap, or -1 outside.
fn x_index(pixel: Pixel, tap: Tap) -> i32 {
  let ih = pixel.ih + tap.dh;
  let iw = pixel.iw + tap.dw;
  let inside = ih >= 0 && ih < params.inH && iw >= 0 && iw < params.inW;
  return select(-1, ((pixel.n * params.inH + ih) * params.inW + iw) * params.inC + tap.ci, inside);
}

// Eight rows of aT from `row` on, in the column of a pixel.
fn load_a8(pixel: Pixel, row: i32) -> vec4u {
  if (VEC_X) {
    let i = x_index(pixel, tap_at(row));
    return select(vec4u(), x8[max(i, 0) / 8], i >= 0);
  }
  var low = vec4h();
  var high = vec4h();
  for (var j = 0; j < 4; j++) {
    let i = x_index(pixel, tap_at(row + j));
    low[j] = select(0.0h, x[max(i, 0)], i >= 0);
    let i_high = x_index(pixel, tap_at(row + j + 4));
    high[j] = select(0.0h, x[max(i_high, 0)], i_high >= 0);
  }
  return vec4u(bitcast<vec2u>(low), bitcast<vec2u>(high));
}

fn load_dy8(k: i32, k_end: i32, co: i32) -> vec4u {
  let inside = k < k_end && co < params.outC;
  return select(vec4u(), dy8[select(0, (k * params.outC + co) / 8, inside)], inside);
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
  @builtin(subgroup_id) subgroup_id: u32,
  @builtin(subgroup_invocation_id) lane: u32,
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
  let invocation = i32(local_index);
  let subgroup_m = i32(subgroup_id) / SUBGROUPS_N * ROWS * MATRIX_M;
  let subgroup_n = i32(subgroup_id) % SUBGROUPS_N * COLS * MATRIX_N;

  // Each invocation gathers the same rows of aT, and columns of dy, in every slice; invocations side by side, neighbouring
  // channels.
  let a_m8 = invocation % M8;
  let a_row = invocation / M8;
  let b_n8 = invocation % N8;
  let b_row = invocation / N8;

  var sums: array<Sums, ROWS * COLS>;
  for (var k_base = k_begin - TILE_K; k_base < k_end; k_base += TILE_K) {
    let k_next = k_base + TILE_K;
    #unroll i LOADS_A
    let a_$i = load_a8(pixel_at(k_next + a_row + $i * (WG_SIZE / M8), k_end), m_base + a_m8 * 8);
    #end
    #unroll i LOADS_B
    let b_$i = load_dy8(k_next + b_row + $i * (WG_SIZE / N8), k_end, n_base + b_n8 * 8);
    #end
    if (k_base >= k_begin) {
      for (var k = 0; k < TILE_K; k += MATRIX_K) {
        #unroll i ROWS
        let left_$i = left_of_columns(k * A_STRIDE + (subgroup_m + $i * MATRIX_M) / 8);
        #end
        #unroll j COLS
        let right_$j = right_of_rows(A_SIZE + k * B_STRIDE + (subgroup_n + $j * MATRIX_N) / 8);
        #end
        #unroll i ROWS
        #unroll j COLS
        sums[$i * COLS + $j] = multiply_add(left_$i, right_$j, sums[$i * COLS + $j], lane);
        #end
        #end
      }
    }
    workgroupBarrier();
    #unroll i LOADS_A
    tiles[(a_row + $i * (WG_SIZE / M8)) * A_STRIDE + a_m8] = a_$i;
    #end
    #unroll i LOADS_B
    tiles[A_SIZE + (b_row + $i * (WG_SIZE / N8)) * B_STRIDE + b_n8] = b_$i;
    #end
    workgroupBarrier();
  }

  // Lanes do not know which of the sums they hold: these go through workgroup memory, a row of matrices at a time.
  #unroll i ROWS
  #unroll j COLS
  store_sums(subgroup_m / ROWS * SUMS_STRIDE + (subgroup_n + $j * MATRIX_N) / 4, sums[$i * COLS + $j], lane);
  #end
  workgroupBarrier();
  for (var e = invocation; e < SUBGROUPS_M * MATRIX_M * (TILE_N / 4); e += WG_SIZE) {
    let row = e / (TILE_N / 4);
    let column = e % (TILE_N / 4) * 4;
    let m = m_base + (row / MATRIX_M * ROWS + $i) * MATRIX_M + row % MATRIX_M;
    let co = n_base + column;
    if (m < m_count && co < params.outC) {
      let value = bitcast<vec4f>(tiles[row * SUMS_STRIDE + column / 4]);
      partials[((split * m_count + m) * params.outC + co) / 4] = value;
    }
  }
  workgroupBarrier();
  #end
}
