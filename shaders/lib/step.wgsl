// What the host writes before each training step (src/kernels/step_state.ts), 16 bytes.
struct Step {
  number: u32, // of the batch, 0 for the first
  rate: f32,   // Adamax' learning rate / (1 - beta1^t), t counts updates from 1
  slot: u32,   // row of the log that this step writes
  spare: u32,
}
