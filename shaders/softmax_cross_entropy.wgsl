// Softmax and cross-entropy of each row in one pass, through log-sum-exp so that no exponential overflows:
//   row_loss = weight[label] * (log(sum exp(x - max)) - (x[label] - max))
//   dx       = weight[label] * (exp(x - max) / sum - [column == label]) / mean_over, the gradient of
//              sum(row_loss) / mean_over, times loss_scale[0] with HAS_SCALE (see loss_scale.wgsl)
//   correct  = 1 where the first largest x of the row is at the label, else 0
// x, dx: [rows, classes] in Stored, f32 or f16, labels, row_loss, correct: [rows], class_weights: [classes].
// One workgroup computes one row. A label outside [0, classes) gives NaN in its row of row_loss and dx. Writes (=).
// Reference: Keras' SparseCategoricalCrossentropy(from_logits=True) with class_weight, mean over the batch.
// lib: index, reduce

override WG_SIZE: u32 = 8;
override HAS_WEIGHTS: bool = false;
override HAS_SCALE: bool = false;
override HAS_DX: bool = false;

struct Params {
  rows: u32,
  classes: u32,
  mean_over: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read> class_weights: array<f32>;
@group(0) @binding(3) var<storage, read> loss_scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> row_loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> correct: array<u32>;
@group(0) @binding(6) var<storage, read_write> dx: array<Stored>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let row = workgroup_index(workgroup_id, num_workgroups);
  if (row >= params.rows) {
    return;
  }
  let start = row * params.classes;

  var largest = f32(x[start]);
  for (var column = local_index; column < params.classes; column += WG_SIZE) {
    largest = max(largest, f32(x[start + column]));
  }
  let row_max = workgroup_max(largest, local_index);

  var sum = 0.0;
  var first = params.classes; // the first column that holds row_max
  for (var column = local_index; column < params.classes; column += WG_SIZE) {
    let value = f32(x[start + column]);
    sum += exp(value - row_max);
    if (value == row_max) {
      first = min(first, column);
    }
  }
  let row_sum = workgroup_sum(sum, local_index);
  let row_first = workgroup_min_u32(first, local_index);

  let label = labels[row];
  let known = label >= 0 && label < i32(params.classes);
  let target_column = select(0u, u32(label), known);
  var weight = 1.0;
  if (HAS_WEIGHTS) {
    weight = class_weights[target_column];
  }
  if (!known) {
    weight = not_a_number();
  }
  if (local_index == 0) {
    row_loss[row] = weight * (log(row_sum) - (f32(x[start + target_column]) - row_max));
    correct[row] = u32(known && row_first == target_column);
  }
  if (HAS_DX) {
    var scale = weight / f32(params.mean_over);
    if (HAS_SCALE) {
      scale *= loss_scale[0];
    }
    for (var column = local_index; column < params.classes; column += WG_SIZE) {
      let probability = exp(f32(x[start + column]) - row_max) / row_sum;
      dx[start + column] = Stored(scale * (probability - f32(column == target_column)));
    }
  }
}

// A constant expression may not be NaN, a variable may.
fn not_a_number() -> f32 {
  var bits = 0x7fc00000u;
  return bitcast<f32>(bits);
}
