// Convolution as a matrix product by subgroup matrices (tensor cores): y = a * w as in conv2d_implicit_gemm.wgsl, with
// M = n*outH*outW pixels, N = outC and K = kH*kW*inC, the rows of a gathered from x tile by tile.
// x: [n,inH,inW,inC] NHWC, w: [kH,kW,inC,outC] HWIO, y: [n,outH,outW,outC] NHWC, all float16; b: [outC] float32 (not read
// without HAS_BIAS). Sums are float32. outC is a multiple of 8.
// One workgroup computes a tile of TILE_M pixels by TILE_N channels; its SUBGROUPS_M by SUBGROUPS_N subgroups each ROWS by
// COLS matrices of it. While they multiply one slice of K, the next is on its way to registers. Writes y (=).
// The scheme: https://github.com/jeffbolznv/vk_cooperative_matrix_perf
// Constants: LANES, SUBGROUPS_M, SUBGROUPS_N, ROWS, COLS, TILE_K (a multiple of MATRIX_K), LOADS_A and LOADS_B (how many
// elements of a and b an invocation loads), MATRIX_M, MATRIX_N, MATRIX_K.
// lib: index, subgroup_matrix

enable f16, subgroups;

override HAS_BIAS: bool = true;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU after the bias; 1 is none
// Eight neighbouring channels come in one load; the wrapper says so where inC is a multiple of 8.
override VEC_X: bool = false;

const WG_SIZE = LANES * SUBGROUPS_M * SUBGROUPS_N;
const TILE_M = SUBGROUPS_M * ROWS * MATRIX_M;
const TILE_N = SUBGROUPS_N * COLS * MATRIX_N;
const K8 = TILE_K / 8;
const N8 = TILE_N / 8;
// One element more than a row needs, so that eight rows, which a matrix loads at once, do not meet in the same banks.
const A_STRIDE = K8 + 1;
const B_STRIDE = N8 + 1;
const SUMS_STRIDE = TILE_N / 4 + 1;
const A_SIZE = TILE_M * A_STRIDE;
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
}

// x8 and w8 show x and w with eight channels an element; x8 is not read without VEC_X.
@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read> x8: array<vec4u>;
@group(0) @binding(2) var<storage, read> w8: array<vec4u>;
@group(0) @binding(3) var<storage, read> b: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4h>;
@group(1) @binding(0) var<uniform> params: Params;

// First the operands, a as [TILE_M][TILE_K] and b as [TILE_K][TILE_N], eight float16 an element; in the end the sums of
// a row of matrices of each subgroup, [SUBGROUPS_M * MATRIX_M][TILE_N], four float32 an element.
var<workgroup> tiles: array<vec4u, max(A_SIZE + B_SIZE, SUMS_SIZE)>;

// Where in x an output pixel's filter begins.
struct Pixel {
  n: i32,
  ih: i32,
  iw: i32,
}

// A column of a: how far into the filter and which channel.
struct Tap {
  dh: i32,
  dw: i32,
  ci: i32,
}

fn pixel_at(m: i32) -> Pixel {
  let p = params;
  let row = m / p.outW;
  let n = row / p.outH;
  let oh = row - n * p.outH;
  let ow = m - row * p.outW;
  // Past the last pixel: so far above x that every load gives 0.
  let ih = select(oh * p.strideH - p.padTop, -0x40000000, n >= p.n);
  return Pixel(n, ih, ow * p.strideW - p.padLeft);
}

fn tap_at(k: i32) -> Tap {
  let tap = k / params.inC;
  let kh = tap / params.kW;
  let kw = tap - kh * params.kW;
  // Past the last tap: so far below x that every load gives 0.
  let dh = select(kh * params.dilationH, 0x20000000, kh >= params.kH);
  return Tap(dh, kw * params.dilationW, k - tap * params.inC);
}

// The element of x under a tap, or -1 outside.
fn x_index(pixel: Pixel, tap: Tap) -> i32 {
  let ih = pixel.ih + tap.dh;
  let iw = pixel.iw + tap.dw;
  let inside = ih >= 0 && ih < params.inH && iw >= 0 && iw < params.inW;
  return select(-1, ((pixel.n * params.inH + ih) * params.inW + iw) * params.inC + tap.ci, inside);
}

// Eight columns of a row of a, from k on.
fn load_a8(pixel: Pixel, k: i32) -> vec4u {
  if (VEC_X) {
    let i = x_index(pixel, tap_at(k));
    return select(vec4u(), x8[max(i, 0) / 8], i >= 0);
  }
  var low = vec4h();
  var high = vec4h();
  for (var j = 0; j < 4; j++) {
    let i = x_index(pixel, tap_at(k + j));
    low[j] = select(0.0h, x[max(i, 0)], i >= 0);
    let i_high = x_index(pixel, tap_at(k + j + 4));
    high[j] = select(0.0h, x[max(i_high, 0)], i_high >= 0);
  }
  return vec4u(bitcast<vec2u>(low), bitcast<vec2u>(high));
}

fn load_w8(k: i32, co: i32) -> vec4u {
  let inside = k < params.kH * params.kW * params.inC && co < params.outC;
  return select(vec4u(), w8[select(0, (k * params.outC + co) / 8, inside)], inside);
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
  @builtin(subgroup_id) subgroup_id: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let m_count = params.n * params.outH * params.outW;
  let k_count = params.kH * params.kW * params.inC;
  let tiles_n = (params.outC + TILE_N - 1) / TILE_N;
  let tile = i32(workgroup_index(workgroup_id, num_workgroups));
  let m_base = tile / tiles_n * TILE_M;
  let n_base = tile % tiles_n * TILE_N;
  if (m_base >= m_count) {
    return;
  }
  let invocation = i32(local_index);
  let subgroup_m = i32(subgroup_id) / SUBGROUPS_N * ROWS * MATRIX_M;
  let subgroup_n = i32(subgroup_id) % SUBGROUPS_N * COLS * MATRIX_N;

  // Each invocation gathers from the same pixels in every slice; invocations side by side, neighbouring channels.
  let a_k8 = invocation % K8;
  let a_row = invocation / K8;
  let b_n8 = invocation % N8;
  let b_row = invocation / N8;
  #unroll i LOADS_A
  let pixel_$i = pixel_at(m_base + a_row + $i * (WG_SIZE / K8));
  #end

  var sums: array<Sums, ROWS * COLS>;
  for (var k_base = -TILE_K; k_base < k_count; k_base += TILE_K) {
    let k_next = k_base + TILE_K;
    #unroll i LOADS_A
    let a_$i = load_a8(pixel_$i, k_next + a_k8 * 8);
    #end
    #unroll i LOADS_B
    let b_$i = load_w8(k_next + b_row + $i * (WG_SIZE / N8), n_base + b_n8 * 8);
    #end
    if (k_base >= 0) {
      for (var k = 0; k < TILE_K; k += MATRIX_K) {
        #unroll i ROWS
        let left_$i = left_of_rows((subgroup_m + $i * MATRIX_M) * A_STRIDE + k / 8);
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
    tiles[(a_row + $i * (WG_SIZE / K8)) * A_STRIDE + a_k8] = a_$i;
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
      var value = bitcast<vec4f>(tiles[row * SUMS_STRIDE + column / 4]);
      if (HAS_BIAS) {
        value += b[co / 4];
      }
      y[(m * params.outC + co) / 4] = vec4h(select(LEAKY_SLOPE * value, value, value > vec4f()));
    }
  }
  workgroupBarrier();
  #end
}
