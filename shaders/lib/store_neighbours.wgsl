// Stores four neighbours of a tensor's last axis, at once where four divides its length, else one by one, `count` of them.
// Constants: Out, what the tensor holds: f32 or f16, with SINGLES = 4 and FOURS = 0, or vectors of four, with 0 and 1.

// The neighbours begin at element `at`, counted in single ones. Writes to (=).
fn store_neighbours(to: ptr<storage, array<Out>, read_write>, at: i32, count: i32, value: vec4f) {
  #unroll four FOURS
  (*to)[at / 4] = Out(value);
  #end
  #unroll c SINGLES
  if ($c < count) {
    (*to)[at + $c] = Out(value[$c]);
  }
  #end
}
