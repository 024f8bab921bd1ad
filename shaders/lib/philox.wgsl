// Philox4x32-10, a counter-based generator: four random words for each counter and key, in ten rounds.
// Reference: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; Random123's philox4x32.
fn philox4x32(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  for (var round = 0; round < 10; round++) {
    let product_0 = multiply_wide(0xd2511f53u, c.x);
    let product_1 = multiply_wide(0xcd9e8d57u, c.z);
    c = vec4u(product_1.y ^ c.y ^ k.x, product_1.x, product_0.y ^ c.w ^ k.y, product_0.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

// The 64-bit product of two words as (low, high), from products of 16-bit halves: WGSL has no wide multiply.
fn multiply_wide(a: u32, b: u32) -> vec2u {
  let a_low = a & 0xffffu;
  let a_high = a >> 16;
  let b_low = b & 0xffffu;
  let b_high = b >> 16;
  let low = a_low * b_low;
  let middle = a_high * b_low + (low >> 16);
  let middle_2 = a_low * b_high + (middle & 0xffffu);
  return vec2u(a * b, a_high * b_high + (middle >> 16) + (middle_2 >> 16));
}
