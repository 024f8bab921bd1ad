// Gradient of a convolution's input as a matrix product by subgroup matrices (tensor cores): dx = a * wT as in
// conv2d_input_grad_implicit_gemm.wgsl, with M = n*inH*inW pixels, N = inC and K = kH*kW*outC, the rows of a gathered from
// dy tile by tile.
// dy: [n,outH,outW,outC] NHWC, w: [kH,kW,inC,outC] HWIO, dx: [n,inH,inW,inC] NHWC, all float16; sums are float32. inC and
// outC are multiples of 8.
// Tiles, subgroups, splits and constants are those of conv2d_subgroup_matrix.wgsl, but that b lies in columns of wT: w has
// the channels of K side by side. With several splits, dx is [splits,n,inH,inW,inC] and float32. Writes dx (=).
// lib: index, split, subgroup_matrix, subgroup_matrix_tile

enable f16, subgroups;

// Any stride above 1: without, two divisions a load fall away.
override STRIDED: bool = true;

const WG_SIZE = LANES * SUBGROUPS_M * SUBGROUPS_N;
const TILE_M = SUBGROUPS_M * ROWS * MATRIX_M;
const TILE_N = SUBGROUPS_N * COLS * MATRIX_N;
const K8 = TILE_K / 8;
// One element more than a row needs, so that eight rows, which a matrix loads at once, do not meet in the same banks.
const A_STRIDE = K8 + 1;
const B_STRIDE = K8 + 1;
const A_SIZE = TILE_M * A_STRIDE;
const B_SIZE = TILE_N * B_STRIDE;

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

// dy8 and w8 show dy and w with eight channels an element.
@group(0) @binding(0) var<storage, read> dy8: array<vec4u>;
@group(0) @binding(1) var<storage, read> w8: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> dx: array<Out>;
@group(0) @binding(3) var<uniform> params: Params;

// First the operands, a as [TILE_M][TILE_K] and b as [TILE_N][TILE_K], eight float16 an element; in the end the
// sums, as lib/subgroup_matrix_tile.wgsl lays them out.
var<workgroup> tiles: array<vec4u, max(A_SIZE + B_SIZE, SUMS_SIZE)>;

// An input pixel, counted from the corner of the padding.
struct Pixel {
  n: i32,
  row: i32,
  column: i32,
}

// A column of a: where in the filter, how far that is in x, and which channel.
struct Tap {
  index: i32,
  dh: i32,
  dw: i32,
  co: i32,
}

fn pixel_at(m: i32) -> Pixel {
  let p = params;
  let row = m / p.inW;
  let n = row / p.inH;
  // Past the last pixel: so far above dy that every load gives 0.
  let ih = select(row - n * p.inH, -0x40000000, n >= p.n);
  return Pixel(n, ih + p.padTop, m - row * p.inW + p.padLeft);
}

fn tap_at(k: i32) -> Tap {
  let tap = k / params.outC;
  let kh = tap / params.kW;
  let kw = tap - kh * params.kW;
  // Past the last tap: so far down that every load gives 0.
  let dh = select(kh * params.dilationH, 0x20000000, kh >= params.kH);
  return Tap(tap, dh, kw * params.dilationW, k - tap * params.outC);
}

// The element of dy that reads a pixel through a tap, or -1 where there is none.
fn dy_index(pixel: Pixel, tap: Tap) -> i32 {
  let rows = pixel.row - tap.dh;
  let columns = pixel.column - tap.dw;
  var oh = rows;
  var ow = columns;
  if (STRIDED) {
    oh = rows / params.strideH;
    ow = columns / params.strideW;
  }
  let read = rows >= 0 && oh < params.outH && columns >= 0 && ow < params.outW &&
    (!STRIDED || (oh * params.strideH == rows && ow * params.strideW == columns));
  return select(-1, ((pixel.n * params.outH + oh) * params.outW + ow) * params.outC + tap.co, read);
}

fn load_dy8(pixel: Pixel, tap: Tap) -> vec4u {
  let i = dy_index(pixel, tap);
  return select(vec4u(), dy8[max(i, 0) / 8], i >= 0);
}

fn load_w8(ci: i32, tap: Tap) -> vec4u {
  let inside = ci < params.inC && tap.index < params.kH * params.kW;
  let i = select(0, (tap.index * params.inC + ci) * params.outC + tap.co, inside);
  return select(vec4u(), w8[i / 8], inside);
}

// What lib/subgroup_matrix_tile.wgsl asks for: operands out of the tiles, and what becomes of the product.
fn left_at(row: i32, k: i32) -> Left {
  return left_of_rows(row * A_STRIDE + k / 8);
}

fn right_at(k: i32, column: i32) -> Right {
  return right_of_columns(A_SIZE + column * B_STRIDE + k / 8);
}

// The splits' products lie one below the other.
fn store4(m: i32, ci: i32, value: vec4f) {
  dx[(m * params.inC + ci) / 4] = Out(value);
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
  @builtin(subgroup_id) subgroup_id: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let m_count = params.n * params.inH * params.inW;
  let k_count = params.kH * params.kW * params.outC;
  let tiles_m = (m_count + TILE_M - 1) / TILE_M;
  let tiles_n = (params.inC + TILE_N - 1) / TILE_N;
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

  // Each invocation gathers from the same pixels in every slice, and the same columns of K of both matrices; invocations
  // side by side, neighbouring channels.
  let k8 = invocation % K8;
  let row = invocation / K8;
  #unroll i LOADS_A
  let pixel_$i = pixel_at(m_base + row + $i * (WG_SIZE / K8));
  #end

  var sums: SubgroupSums;
  for (var k_base = k_begin - TILE_K; k_base < k_end; k_base += TILE_K) {
    let tap = tap_at(k_base + TILE_K + k8 * 8);
    #unroll i LOADS_A
    let a_$i = load_dy8(pixel_$i, tap);
    #end
    #unroll i LOADS_B
    let b_$i = load_w8(n_base + row + $i * (WG_SIZE / K8), tap);
    #end
    if (k_base >= k_begin) {
      multiply_slice(&sums, part, lane);
    }
    workgroupBarrier();
    #unroll i LOADS_A
    tiles[(row + $i * (WG_SIZE / K8)) * A_STRIDE + k8] = a_$i;
    #end
    #unroll i LOADS_B
    tiles[A_SIZE + (row + $i * (WG_SIZE / K8)) * B_STRIDE + k8] = b_$i;
    #end
    workgroupBarrier();
  }
  store_tile(&sums, part, lane, invocation, vec2i(split * m_count + m_base, n_base), vec2i((split + 1) * m_count, params.inC));
}
