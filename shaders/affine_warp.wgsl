// A batch out of an image set, each image through a 2x3 matrix, bilinear, pixel values / 255:
//   y[b, i, j, :] = images[indices[b]] at (x, y) = matrices[b] * (j + .5, i + .5, 1), in pixels whose centres are at .5
// Outside the image its edge repeats. A grey image fills all channels of y.
// images: uint8 [count, in_h, in_w, in_c] packed four to a word, of which the first is image `first_image` of the set;
// indices: [batch], matrices: [batch, 2, 3] row-major, y: [n, out_h, out_w, out_c] in Stored, f32 or f16, rows
// first_row to first_row + n of the batch. One invocation computes one pixel, or the same one of several rows.
// Writes y (=) for the rows whose image is among `images`, no other.

override WG_SIZE: u32 = 64;

struct Params {
  n: u32,
  first_row: u32,
  first_image: u32,
  image_count: u32,
  in_h: u32,
  in_w: u32,
  in_c: u32,
  out_h: u32,
  out_w: u32,
  out_c: u32,
}

@group(0) @binding(0) var<storage, read> images: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> matrices: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  let out_pixels = params.out_h * params.out_w;
  if (id.x >= out_pixels) {
    return;
  }
  let centre = vec3f(f32(id.x % params.out_w) + 0.5, f32(id.x / params.out_w) + 0.5, 1.0);
  let far_corner = vec2f(f32(params.in_w) - 1.0, f32(params.in_h) - 1.0);

  for (var row = id.y; row < params.n; row += num_workgroups.y) {
    let batch_row = params.first_row + row;
    let image = indices[batch_row] - params.first_image; // wraps to a large number below first_image
    if (image >= params.image_count) {
      continue;
    }
    let m = batch_row * 6;
    let x_in = dot(vec3f(matrices[m], matrices[m + 1], matrices[m + 2]), centre);
    let y_in = dot(vec3f(matrices[m + 3], matrices[m + 4], matrices[m + 5]), centre);
    // From here on positions count from the centre of the first pixel. Clamped, they repeat the edge.
    let position = clamp(vec2f(x_in, y_in) - 0.5, vec2f(0.0), far_corner);
    let near = vec2u(position);
    let far = min(near + 1, vec2u(params.in_w, params.in_h) - 1);
    let weight = position - vec2f(near);

    let image_start = image * params.in_h * params.in_w;
    let top = image_start + near.y * params.in_w;
    let bottom = image_start + far.y * params.in_w;
    let y_start = (row * out_pixels + id.x) * params.out_c;
    for (var channel = 0u; channel < params.out_c; channel++) {
      let in_channel = min(channel, params.in_c - 1);
      let above = mix(
        byte((top + near.x) * params.in_c + in_channel),
        byte((top + far.x) * params.in_c + in_channel),
        weight.x,
      );
      let below = mix(
        byte((bottom + near.x) * params.in_c + in_channel),
        byte((bottom + far.x) * params.in_c + in_channel),
        weight.x,
      );
      y[y_start + channel] = Stored(mix(above, below, weight.y) / 255.0);
    }
  }
}

fn byte(index: u32) -> f32 {
  return f32((images[index / 4] >> (index % 4 * 8)) & 0xffu);
}
