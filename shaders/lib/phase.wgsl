// The phases of a strided convolution's input gradient, along one axis: input pixels phase, phase + stride, ... are read
// through the same taps, first, first + step, ...; through all others no output pixel reads them.
struct Phase {
  pixels: i32, // how many pixels the phase has
  first: i32,  // its first tap; the kernel's size where it has none
  taps: i32,   // how many taps it has, perhaps none
}

// step is stride / gcd(stride, dilation): which taps divide repeats after so many.
fn phase_of(phase: i32, size: i32, kernel: i32, stride: i32, dilation: i32, pad: i32, step: i32) -> Phase {
  var first = 0;
  while (first < step && (phase + pad - first * dilation) % stride != 0) {
    first++;
  }
  first = select(first, kernel, first == step);
  let pixels = (size - phase + stride - 1) / stride;
  return Phase(pixels, first, (max(kernel - first, 0) + step - 1) / step);
}
