// Convolution for software adapters, forward and input gradient, as a matrix product: M = output pixels, N = output
// channels, K = (kh, kw, channel). Output pixel (oh, ow) reads, for tap (kh, kw), the input pixel at
//   ih = (oh * strideH + originH + kh * stepH) / UP_H where that divides and lies inside, iw likewise.
// Forward: origin = -pad, step = dilation, UP = 1. Input gradient: x is dy, w has its channel axes exchanged, stride = 1,
// origin = pad, step = -dilation, UP = the convolution's stride; a workgroup takes pixels of one phase (lib/phase.wgsl),
// and only the taps for which that divides.
// x: [n,inH,inW,inC] NHWC, w: [kH,kW,inC,outC] HWIO, b: [outC], y: [n,outH,outW,outC]; inC and outC are multiples of 4.
// x and w lie as Stored, y as YStored, each f32 or f16; b and all sums are f32.
//
// A workgroup is one subgroup. LANES_N lanes lie along N with 4 channels each; the LANES / LANES_N groups of them take
// 4 * LANES_N pixels each. In each turn a lane loads a block of 4 pixels x 4 channels of x and one of 4 input x 4 output
// channels of w; the pixels are then shared by shuffles within the group. On Mesa's llvmpipe a load of four values costs
// as much as 50 multiply-adds, from workgroup memory or at an address that all lanes share no less; a shuffle is one
// instruction. All multiply-adds of one accumulator stand together, so that it is fetched and stored once a turn; larger
// tiles than these overflow the instruction cache. Writes y (=).
// lib: index, phase

enable subgroups;

override HAS_BIAS: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU after the bias; 1 is none
override UP_H: i32 = 1;
override UP_W: i32 = 1;

struct Params {
  pixels: i32, // n * outH * outW
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
  biasCount: i32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Stored>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<YStored>>;
@group(1) @binding(0) var<uniform> params: Params;

const ROWS = 4 * LANES_N; // pixels of a lane group: an accumulator each
// W_LOADS: rows of w that a lane loads each turn. The lane groups want the same four: each loads a part, then they swap.

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let in_quads = p.inC / 4;
  let out_quads = p.outC / 4;
  let tiles_n = (out_quads + LANES_N - 1) / LANES_N;
  var tile = i32(workgroup_index(workgroup_id, num_workgroups));
  var pixels = p.pixels;
  var phase_h = 0;
  var phase_w = 0;
  var rows = Phase(p.outH, 0, p.kH);
  var columns = Phase(p.outW, 0, p.kW);
  if (UP_H * UP_W > 1) {
    // As many tiles for each phase as the first has, which is the largest.
    let n = p.pixels / (p.outH * p.outW);
    let most = n * ((p.outH + UP_H - 1) / UP_H) * ((p.outW + UP_W - 1) / UP_W);
    let phase_tiles = (most + 4 * LANES - 1) / (4 * LANES) * tiles_n;
    let phase = tile / phase_tiles;
    tile -= phase * phase_tiles;
    if (phase >= UP_H * UP_W) {
      return;
    }
    phase_h = phase / UP_W;
    phase_w = phase % UP_W;
    rows = phase_of(phase_h, p.outH, p.kH, UP_H, -p.stepH, p.originH, p.tapStepH);
    columns = phase_of(phase_w, p.outW, p.kW, UP_W, -p.stepW, p.originW, p.tapStepW);
    pixels = n * rows.pixels * columns.pixels;
  }
  let tile_m = tile / tiles_n;
  if (tile_m * (4 * LANES) >= pixels) {
    return;
  }
  let lane = i32(local_index);
  let lane_n = lane % LANES_N;
  let first_lane = u32(lane - lane_n);
  let quad = (tile % tiles_n) * LANES_N + lane_n;
  let w_quad = min(quad, out_quads - 1);
  let w_first = (lane / LANES_N * W_LOADS) % 4;
  let group_pixel = tile_m * (4 * LANES) + (lane / LANES_N) * ROWS;

  // The four pixels that this lane loads, and where their receptive fields start.
  #unroll r 4
  let pixel$r = min(group_pixel + 4 * lane_n + $r, pixels - 1);
  let image$r = pixel$r / (rows.pixels * columns.pixels);
  let h$r = (((pixel$r / columns.pixels) % rows.pixels) * UP_H + phase_h) * p.strideH + p.originH;
  let w$r = ((pixel$r % columns.pixels) * UP_W + phase_w) * p.strideW + p.originW;
  #end

  var acc: array<vec4f, ROWS>;
  for (var kh = rows.first; kh < p.kH; kh += p.tapStepH) {
    for (var kw = columns.first; kw < p.kW; kw += p.tapStepW) {
      #unroll r 4
      let up_h$r = h$r + kh * p.stepH;
      let up_w$r = w$r + kw * p.stepW;
      let inside$r = up_h$r >= 0 && up_h$r < p.inH * UP_H && up_w$r >= 0 && up_w$r < p.inW * UP_W;
      let start$r = select(0, ((image$r * p.inH + up_h$r / UP_H) * p.inW + up_w$r / UP_W) * in_quads, inside$r);
      #end
      let w_start = (kh * p.kW + kw) * p.inC * out_quads + w_quad;
      for (var c = 0; c < in_quads; c++) {
        var w_own: array<vec4f, W_LOADS>;
        #unroll i W_LOADS
        w_own[$i] = vec4f(w[w_start + (4 * c + w_first + $i) * out_quads]);
        #end
        #unroll k 4
        var w_block$k = w_own[$k % W_LOADS];
        if (LANES_N < LANES) {
          w_block$k = subgroupShuffle(w_block$k, u32($k / W_LOADS * LANES_N + lane_n));
        }
        #end
        #unroll r 4
        let x_block$r = select(vec4f(), vec4f(x[start$r + c]), inside$r);
        #end
        #unroll lane LANES_N
          #unroll r 4
            #unroll k 4
        acc[4 * $lane + $r] = fma(vec4f(subgroupShuffle(x_block$r[$k], first_lane + $lane)), w_block$k, acc[4 * $lane + $r]);
            #end
          #end
        #end
      }
    }
  }

  var bias = vec4f();
  if (HAS_BIAS) {
    for (var i = 0; i < 4; i++) {
      bias[i] = b[min(4 * quad + i, p.biasCount - 1)];
    }
  }
  if (quad < out_quads) {
    #unroll lane LANES_N
      #unroll r 4
      if (group_pixel + 4 * $lane + $r < pixels) {
        let value = acc[4 * $lane + $r] + bias;
        let pixel = y_pixel(group_pixel + 4 * $lane + $r, rows, columns, phase_h, phase_w);
        y[pixel * out_quads + quad] = vec4<YStored>(select(LEAKY_SLOPE * value, value, value > vec4f()));
      }
      #end
    #end
  }
}

// Where in y a pixel of a phase lies.
fn y_pixel(pixel: i32, rows: Phase, columns: Phase, phase_h: i32, phase_w: i32) -> i32 {
  if (UP_H * UP_W == 1) {
    return pixel;
  }
  let row = pixel / columns.pixels;
  let n = row / rows.pixels;
  let oh = (row - n * rows.pixels) * UP_H + phase_h;
  return (n * params.outH + oh) * params.outW + (pixel - row * columns.pixels) * UP_W + phase_w;
}
