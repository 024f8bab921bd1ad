// Gradient of a convolution's filter as a matrix product by subgroup matrices (tensor cores): dw = aT * dy as in
// conv2d_weight_grad_implicit_gemm.wgsl, with M = kH*kW*inC, N = outC and K = n*outH*outW pixels, aT gathered from x tile
// by tile (lib/gather_x.wgsl). The pixels are split: split s sums s * pixelsPerSplit and on, and sum_splits.wgsl adds the
// parts.
// x: [n,inH,inW,inC] NHWC, dy: [n,outH,outW,outC] NHWC, both float16; partials: [splits,kH,kW,inC,outC] HWIO, float32 as
// all sums are. outC is a multiple of 8.
// Tiles, subgroups and constants are those of conv2d_subgroup_matrix.wgsl, but that a lies in columns of aT: x has the
// channels of M side by side. Writes partials (=).
// lib: index, gather_x, gather_x8, subgroup_matrix, subgroup_matrix_tile

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
const A_SIZE = TILE_K * A_STRIDE;
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
  pixelsPerSplit: i32,
}

// x8 and dy8 show x and dy with eight channels an element; x8 is not read without VEC_X.
@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read> x8: array<vec4u>;
@group(0) @binding(2) var<storage, read> dy8: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

// First the operands, a as [TILE_K][TILE_M] and b as [TILE_K][TILE_N], eight float16 an element; in the end the
// sums, as lib/subgroup_matrix_tile.wgsl lays them out.
var<workgroup> tiles: array<vec4u, max(A_SIZE + B_SIZE, SUMS_SIZE)>;

fn load_dy8(k: i32, k_end: i32, co: i32) -> vec4u {
  let inside = k < k_end && co < params.outC;
  return select(vec4u(), dy8[select(0, (k * params.outC + co) / 8, inside)], inside);
}

// What lib/subgroup_matrix_tile.wgsl asks for: operands out of the tiles, and what becomes of the product.
fn left_at(row: i32, k: i32) -> Left {
  return left_of_columns(k * A_STRIDE + row / 8);
}

fn right_at(k: i32, column: i32) -> Right {
  return right_of_rows(A_SIZE + k * B_STRIDE + column / 8);
}

// The splits' products lie one below the other.
fn store4(m: i32, co: i32, value: vec4f) {
  partials[(m * params.outC + co) / 4] = value;
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
  let part = part_of(subgroup_id);

  // Each invocation gathers the same rows of aT, and columns of dy, in every slice; invocations side by side, neighbouring
  // channels.
  let a_m8 = invocation % M8;
  let a_row = invocation / M8;
  let b_n8 = invocation % N8;
  let b_row = invocation / N8;

  var sums: SubgroupSums;
  for (var k_base = k_begin - TILE_K; k_base < k_end; k_base += TILE_K) {
    let k_next = k_base + TILE_K;
    #unroll i LOADS_A
    let a_$i = load_x8(pixel_at(k_next + a_row + $i * (WG_SIZE / M8), k_end), m_base + a_m8 * 8);
    #end
    #unroll i LOADS_B
    let b_$i = load_dy8(k_next + b_row + $i * (WG_SIZE / N8), k_end, n_base + b_n8 * 8);
    #end
    if (k_base >= k_begin) {
      multiply_slice(&sums, part, lane);
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
  store_tile(&sums, part, lane, invocation, vec2i(split * m_count + m_base, n_base), vec2i((split + 1) * m_count, params.outC));
}
