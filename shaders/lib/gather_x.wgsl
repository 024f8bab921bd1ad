// The x of a convolution as a matrix that is never stored: a row for each output pixel, a column for each k = (kh,kw,ci),
// and in it the element of x that the pixel reads through that tap, 0 outside of x. The forward pass multiplies it by w,
// the filter's gradient its transpose by dy.
// Uses params: inH, inW, inC, kH, kW, outH, outW, strides, dilations and padding, named as in conv2d.wgsl.

// Where in x an output pixel's filter begins.
struct Pixel {
  n: i32,
  ih: i32,
  iw: i32,
}

// A column of the matrix: how far into the filter and which channel.
struct Tap {
  dh: i32,
  dw: i32,
  ci: i32,
}

// Pixels are counted through the batch; from `end` on they lie so far above x that every load gives 0.
fn pixel_at(index: i32, end: i32) -> Pixel {
  let p = params;
  let row = index / p.outW;
  let n = row / p.outH;
  let oh = row - n * p.outH;
  let ow = index - row * p.outW;
  let ih = select(oh * p.strideH - p.padTop, -0x40000000, index >= end);
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
