// Convolution for software adapters, forward and input gradient, as a matrix product: M = output pixels, N = output
// channels, K = (kh, kw, channel). Output pixel (oh, ow) reads, for tap (kh, kw), the input pixel at
//   ih = (oh * strideH + originH + kh * stepH) / UP_H where that divides and lies inside, iw likewise.
// Forward: origin = -pad, step = dilation, UP = 1. Input gradient: x is dy, w has its channel axes exchanged, stride = 1,
// origin = pad, step = -dilation, UP = the convolution's stride; a workgroup takes pixels of one phase (lib/phase.wgsl),
// and only the taps for which that divides.
// x: [n,inH,inW,inC] NHWC, w: [kH,kW,inC,outC] HWIO, b: [outC], y: [n,outH,outW,outC]; inC and outC are multiples of 4.
// x and w lie as Stored, y as YStored, each f32 or f16, y as f32 with CHUNKS; b and all sums are f32.
//
// The filter stays where it is, and pixels pass by, as in matmul_subgroup_stationary.wgsl, where the reasons are, and what
// HELD_K, QUADS, ROWS and SLOTS mean; rows are pixels here, those of a lane's quads counted on by (image, row, column).
// On Mesa's llvmpipe a load of four values costs as much as 75 multiply-adds, from workgroup memory or at an address that
// all lanes share no less; a shuffle is one instruction. Writes y (=).
// lib: index, phase

enable subgroups;

override CHUNKS: bool = false; // K is more than HELD_K
override HAS_BIAS: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU after the bias; 1 is none
override UP_H: i32 = 1;
override UP_W: i32 = 1;

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
  originH: i32,
  originW: i32,
  stepH: i32,
  stepW: i32,
  tapStepH: i32, // see lib/phase.wgsl
  tapStepW: i32,
  rowsPerGroup: i32, // pixels of a workgroup, a multiple of ROWS * GROUPS
  biasCount: i32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Stored>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<YStored>>;
@group(0) @binding(4) var<uniform> params: Params;

const GROUPS = LANES / LANES_N; // lane groups, each with pixels of its own
const HELD = HELD_K * QUADS;
const K_QUADS = HELD_K / 4; // of a pixel; SLOTS * LANES_N is ROWS * K_QUADS

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let in_quads = p.inC / 4;
  let out_quads = p.outC / 4;
  let tiles_n = (out_quads + QUADS * LANES_N - 1) / (QUADS * LANES_N);
  var tile = i32(workgroup_index(workgroup_id, num_workgroups));
  var phase_h = 0;
  var phase_w = 0;
  var rows = Phase(p.outH, 0, p.kH);
  var columns = Phase(p.outW, 0, p.kW);
  if (UP_H * UP_W > 1) {
    // As many tiles for each phase as the first has, which is the largest.
    let most = p.n * ((p.outH + UP_H - 1) / UP_H) * ((p.outW + UP_W - 1) / UP_W);
    let phase_tiles = (most + p.rowsPerGroup - 1) / p.rowsPerGroup * tiles_n;
    let phase = tile / phase_tiles;
    tile -= phase * phase_tiles;
    if (phase >= UP_H * UP_W) {
      return;
    }
    phase_h = phase / UP_W;
    phase_w = phase % UP_W;
    rows = phase_of(phase_h, p.outH, p.kH, UP_H, -p.stepH, p.originH, p.tapStepH);
    columns = phase_of(phase_w, p.outW, p.kW, UP_W, -p.stepW, p.originW, p.tapStepW);
  }
  let pixels = p.n * rows.pixels * columns.pixels;
  let first_pixel = tile / tiles_n * p.rowsPerGroup;
  if (first_pixel >= pixels) {
    return;
  }
  let last_pixel = min(first_pixel + p.rowsPerGroup, pixels);
  let lane = i32(local_index);
  let lane_n = lane % LANES_N;
  let first_lane = u32(lane - lane_n);
  let column = tile % tiles_n * QUADS * LANES_N + lane_n; // of w, in quads; the others of this lane are LANES_N apart
  let k_quads = rows.taps * columns.taps * in_quads;
  let size = vec2i(rows.pixels, columns.pixels);
  let turn = place_of(ROWS * GROUPS, size);

  var held: array<vec4f, HELD>; // [k][quad]
  var bias: array<vec4f, QUADS>;
  if (HAS_BIAS) {
    for (var i = 0; i < 4 * QUADS; i++) {
      bias[i / 4][i % 4] = b[min(4 * (column + i / 4 * LANES_N) + i % 4, p.biasCount - 1)];
    }
  }
  // Once at least: a phase without taps gets zeros.
  for (var k0 = 0; k0 == 0 || k0 < k_quads; k0 += K_QUADS) {
    // Behind the last row of w stand zeros. Columns past the end are read again from the last one, and not written.
    for (var i = 0; i < HELD; i++) {
      let k = k0 + i / QUADS / 4;
      let tap = k / in_quads;
      let kh = rows.first + tap / columns.taps * p.tapStepH;
      let kw = columns.first + tap % columns.taps * p.tapStepW;
      let row = (kh * p.kW + kw) * p.inC + k % in_quads * 4 + i / QUADS % 4;
      let quad = min(column + i % QUADS * LANES_N, out_quads - 1);
      held[i] = select(vec4f(), vec4f(w[select(0, row * out_quads, k < k_quads) + quad]), k < k_quads);
    }
    // What this lane loads: one quad of a tap in each slot, of the pixel at `place`.
    let group_pixel = first_pixel + lane / LANES_N * ROWS;
    #unroll s SLOTS
    let quad$s = $s * LANES_N + lane_n;
    let k_$s = k0 + quad$s % K_QUADS;
    let tap$s = k_$s / in_quads;
    let h$s = phase_h * p.strideH + p.originH + (rows.first + tap$s / columns.taps * p.tapStepH) * p.stepH;
    let w$s = phase_w * p.strideW + p.originW + (columns.first + tap$s % columns.taps * p.tapStepW) * p.stepW;
    let channel$s = k_$s % in_quads;
    var place$s = place_of(group_pixel + quad$s / K_QUADS, size);
    #end
    for (var turn_pixel = first_pixel; turn_pixel < last_pixel; turn_pixel += ROWS * GROUPS) {
      #unroll s SLOTS
      let up_h$s = place$s.y * UP_H * p.strideH + h$s;
      let up_w$s = place$s.z * UP_W * p.strideW + w$s;
      let inside$s = up_h$s >= 0 && up_h$s < p.inH * UP_H && up_w$s >= 0 && up_w$s < p.inW * UP_W;
      let read$s = inside$s && k_$s < k_quads && place$s.x < p.n;
      let at$s = ((place$s.x * p.inH + up_h$s / UP_H) * p.inW + up_w$s / UP_W) * in_quads + channel$s;
      let x_block$s = select(vec4f(), vec4f(x[select(0, at$s, read$s)]), read$s);
      place$s = next_place(place$s, turn, size);
      #end
      var acc = array<vec4f, ROWS * QUADS>(); // zero in each turn: without a value, Dawn sets it to zero once only
      #unroll s SLOTS
        #unroll lane LANES_N
          #unroll j 4
            #unroll q QUADS
      {
        const ROW = ($s * LANES_N + $lane) / K_QUADS;
        const K = 4 * (($s * LANES_N + $lane) % K_QUADS) + $j;
        acc[ROW * QUADS + $q] = fma(vec4f(subgroupShuffle(x_block$s[$j], first_lane + $lane)), held[K * QUADS + $q], acc[ROW * QUADS + $q]);
      }
            #end
          #end
        #end
      #end
      #unroll r ROWS
      {
        let pixel = turn_pixel + lane / LANES_N * ROWS + $r;
        let start = y_pixel(pixel, size, phase_h, phase_w) * out_quads + column;
        #unroll q QUADS
        if ((ROWS * GROUPS == 1 || pixel < last_pixel) && column + $q * LANES_N < out_quads) {
          let at = start + $q * LANES_N;
          var value = acc[$r * QUADS + $q];
          if (CHUNKS && k0 > 0) {
            value += vec4f(y[at]);
          }
          if (!CHUNKS || k0 + K_QUADS >= k_quads) {
            value += bias[$q];
            value = select(LEAKY_SLOPE * value, value, value > vec4f());
          }
          y[at] = vec4<YStored>(value);
        }
        #end
      }
      #end
    }
  }
}

// Image, row and column of a pixel of a phase with size.x rows and size.y columns.
fn place_of(pixel: i32, size: vec2i) -> vec3i {
  let row = pixel / size.y;
  return vec3i(row / size.x, row % size.x, pixel % size.y);
}

// The place that lies `distance` pixels behind, as place_of(distance) gives it.
fn next_place(place: vec3i, distance: vec3i, size: vec2i) -> vec3i {
  let next = place + distance;
  let row = next.y + select(0, 1, next.z >= size.y);
  return vec3i(
    next.x + select(0, 1, row >= size.x),
    row - select(0, size.x, row >= size.x),
    next.z - select(0, size.y, next.z >= size.y),
  );
}

// Where in y a pixel of a phase lies.
fn y_pixel(pixel: i32, size: vec2i, phase_h: i32, phase_w: i32) -> i32 {
  if (UP_H * UP_W == 1) {
    return pixel;
  }
  let place = place_of(pixel, size);
  return (place.x * params.outH + place.y * UP_H + phase_h) * params.outW + place.z * UP_W + phase_w;
}
