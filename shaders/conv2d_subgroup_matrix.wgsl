// Convolution as a matrix product by subgroup matrices (tensor cores): y = a * w as in conv2d_implicit_gemm.wgsl, with
// M = n*outH*outW pixels, N = outC and K = kH*kW*inC, the rows of a gathered from x tile by tile (lib/gather_x.wgsl).
// x: [n,inH,inW,inC] NHWC, w: [kH,kW,inC,outC] HWIO, y: [n,outH,outW,outC] NHWC, all float16; b: [outC] float32 (not read
// without HAS_BIAS). Sums are float32. outC is a multiple of 8.
// One workgroup computes a tile of TILE_M pixels by TILE_N channels of one split of the sum; its SUBGROUPS_M by SUBGROUPS_N
// subgroups each ROWS by COLS matrices of it. While they multiply one slice of K, the next is on its way to registers. With
// several splits, y is [splits,n,outH,outW,outC] and float32: partial sums for sum_splits.wgsl, with the bias in the first.
// Writes y (=).
// The scheme: https://github.com/jeffbolznv/vk_cooperative_matrix_perf
// Constants: LANES, SUBGROUPS_M, SUBGROUPS_N, ROWS, COLS, TILE_K (a multiple of MATRIX_K), LOADS_A and LOADS_B (how many
// elements of a and b an invocation loads), MATRIX_M, MATRIX_N, MATRIX_K; Out (four of what y holds: vec4h, or vec4f).
// lib: index, gather_x, gather_x8, split, subgroup_matrix, subgroup_matrix_tile

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
const A_SIZE = TILE_M * A_STRIDE;
const B_SIZE = TILE_K * B_STRIDE;

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

// x8 and w8 show x and w with eight channels an element; x8 is not read without VEC_X.
@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read> x8: array<vec4u>;
@group(0) @binding(2) var<storage, read> w8: array<vec4u>;
@group(0) @binding(3) var<storage, read> b: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
@group(0) @binding(5) var<uniform> params: Params;

// First the operands, a as [TILE_M][TILE_K] and b as [TILE_K][TILE_N], eight float16 an element; in the end the
// sums, as lib/subgroup_matrix_tile.wgsl lays them out.
var<workgroup> tiles: array<vec4u, max(A_SIZE + B_SIZE, SUMS_SIZE)>;

fn load_w8(k: i32, co: i32) -> vec4u {
  let inside = k < params.kH * params.kW * params.inC && co < params.outC;
  return select(vec4u(), w8[select(0, (k * params.outC + co) / 8, inside)], inside);
}

// What lib/subgroup_matrix_tile.wgsl asks for: operands out of the tiles, and what becomes of the product.
fn left_at(row: i32, k: i32) -> Left {
  return left_of_rows(row * A_STRIDE + k / 8);
}

fn right_at(k: i32, column: i32) -> Right {
  return right_of_rows(A_SIZE + k * B_STRIDE + column / 8);
}

// The splits' products lie one below the other.
fn store4(m: i32, co: i32, sums: vec4f) {
  var value = sums;
  if (HAS_BIAS && m < params.n * params.outH * params.outW) {
    value += b[co / 4];
  }
  y[(m * params.outC + co) / 4] = Out(select(LEAKY_SLOPE * value, value, value > vec4f()));
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
  let invocation = i32(local_index);
  let part = part_of(subgroup_id);

  // Each invocation gathers from the same pixels in every slice; invocations side by side, neighbouring channels.
  let a_k8 = invocation % K8;
  let a_row = invocation / K8;
  let b_n8 = invocation % N8;
  let b_row = invocation / N8;
  #unroll i LOADS_A
  let pixel_$i = pixel_at(m_base + a_row + $i * (WG_SIZE / K8), m_count);
  #end

  var sums: SubgroupSums;
  for (var k_base = k_begin - TILE_K; k_base < k_end; k_base += TILE_K) {
    let k_next = k_base + TILE_K;
    #unroll i LOADS_A
    let a_$i = load_x8(pixel_$i, k_next + a_k8 * 8);
    #end
    #unroll i LOADS_B
    let b_$i = load_w8(k_next + b_row + $i * (WG_SIZE / N8), n_base + b_n8 * 8);
    #end
    if (k_base >= k_begin) {
      multiply_slice(&sums, part, lane);
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
  store_tile(&sums, part, lane, invocation, vec2i(split * m_count + m_base, n_base), vec2i((split + 1) * m_count, params.outC));
}
