/**
 * Deliberate faults in kernels, one a line of thought that a tired programmer may have. Each must turn the tests that are
 * named beside it red; `npm run mutate` sees to it. The texts are replaced once, and must be there exactly once.
 */

export interface Mutation {
  /** What is wrong, e.g. `sign of the padding`. */
  readonly fault: string;
  /** The file, from the root of the repository. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** Why someone may write it. */
  readonly why: string;
  /** The test file that must fail, and which of its tests are run (mocha's --grep); all by default. */
  readonly test: string;
  readonly grep?: string;
}

/** Cases of conv2d.test.ts with few pixels: the others take long on software adapters. */
const conv = (pass: string, algorithm: string) => ({
  test: "test/kernels/conv2d.test.ts",
  grep: `^conv2d ${pass} ${algorithm} x=\\[[12],\\d{1,2},\\d{1,2},\\d{1,2}\\]`,
});
const matrices = (pass: string) => ({
  test: "test/kernels/conv2d_subgroup_matrix.test.ts",
  grep: `subgroup matrices, .* ${pass} x=\\[2,5,7,24\\]`,
});
const splits = (pass: string) => ({
  test: "test/kernels/conv2d_implicit_gemm.test.ts",
  grep: `^conv2d implicit_gemm in splits, ${pass} float32`,
});
const dense = (algorithm: string) => ({
  test: "test/kernels/dense.test.ts",
  grep: `^dense, algorithm ${algorithm} `,
});
const stationary = {
  test: "test/kernels/matmul_subgroup_stationary.test.ts",
  grep: "^matmul_subgroup_stationary [123] x",
};

export const MUTATIONS: readonly Mutation[] = [
  // The plain loops, which are the fallback and what the others are read against.
  {
    fault: "sign of the padding",
    file: "shaders/conv2d.wgsl",
    find: "oh * p.strideH - p.padTop + kh",
    replace: "oh * p.strideH + p.padTop + kh",
    why: "the input gradient has it with the other sign",
    ...conv("forward", "direct"),
  },
  {
    fault: "one column too many on the right",
    file: "shaders/conv2d.wgsl",
    find: "if (iw < 0 || iw >= p.inW) {",
    replace: "if (iw < 0 || iw > p.inW) {",
    why: "an off-by-one in a bound, which reads the first pixel of the next row",
    ...conv("forward", "direct"),
  },
  {
    fault: "last element dropped",
    file: "shaders/conv2d_input_grad.wgsl",
    find: "if (i >= p.n * p.inH * p.inW * p.inC) {",
    replace: "if (i >= p.n * p.inH * p.inW * p.inC - 1) {",
    why: "confuses the count with the last index",
    ...conv("input_grad", "direct"),
  },
  {
    fault: "stride without a rest",
    file: "shaders/conv2d_input_grad.wgsl",
    find: "columns < 0 || columns % p.strideW != 0 ||",
    replace: "columns < 0 ||",
    why: "right for stride 1, where most networks are",
    ...conv("input_grad", "direct"),
  },
  {
    fault: "only the last image counts",
    file: "shaders/conv2d_weight_grad.wgsl",
    find: "acc += image_acc;",
    replace: "acc = image_acc;",
    why: "right for a batch of one",
    ...conv("weight_grad", "direct"),
  },
  // Tiles in workgroup memory, which GPUs take.
  {
    fault: "barrier missing before the tile is read",
    file: "shaders/conv2d_implicit_gemm.wgsl",
    find: "    workgroupBarrier();\n    // Not TILE_K as such",
    replace: "    // Not TILE_K as such",
    why: "goes unseen where a workgroup is one subgroup; Mesa's adapter runs 8 lanes at a time, so it shows there",
    ...conv("forward", "implicit_gemm"),
  },
  {
    fault: "vec4 loads at the place of a float",
    file: "shaders/conv2d_implicit_gemm.wgsl",
    find: "x4[max(i, 0) / 4]",
    replace: "x4[max(i, 0)]",
    why: "an index in floats, an array of vec4f: a wrong stride",
    ...conv("forward", "implicit_gemm"),
  },
  {
    fault: "vec4 stores at the place of a float",
    file: "shaders/lib/store_neighbours.wgsl",
    find: "(*to)[at / 4]",
    replace: "(*to)[at]",
    why: "an index in floats, an array of vec4f",
    ...conv("input_grad", "implicit_gemm"),
  },
  {
    fault: "filter axes exchanged",
    file: "shaders/conv2d_input_grad_implicit_gemm.wgsl",
    find: "(tap.index * params.inC + ci) * params.outC + tap.co",
    replace: "(tap.index * params.outC + tap.co) * params.inC + ci",
    why: "the layout that the input gradient would like the filter to have; right where inC = outC = 1",
    ...conv("input_grad", "implicit_gemm"),
  },
  {
    fault: "bias in every split of the sum",
    file: "shaders/conv2d_implicit_gemm.wgsl",
    find: "HAS_BIAS && split == 0 && ",
    replace: "HAS_BIAS && ",
    why: "what it was before sums were split, and still right where they are not",
    ...splits("forward"),
  },
  {
    fault: "parts that do not begin at a multiple of four",
    file: "src/kernels/matmul_batched.ts",
    find: "roundUp4(ceilDiv(k, splits))",
    replace: "ceilDiv(k, splits)",
    why: "right as long as only weight gradients, which load across k, were split",
    test: "test/kernels/conv2d_gemm.test.ts",
    grep: "^conv2d gemm_1x1 with the products for GPUs, in splits",
  },
  {
    fault: "leaky ReLU of partial sums",
    file: "src/kernels/sum_splits.ts",
    find: "compute(partials, 1);",
    replace: "compute(partials, leakySlope);",
    why: "the shader that writes them has a leaky ReLU of its own",
    ...splits("forward"),
  },
  {
    fault: "partial sums left unwritten where there is nothing to sum",
    file: "shaders/conv2d_input_grad_implicit_gemm.wgsl",
    find: "  if (m_base >= m_count) {",
    replace: "  if (m_base >= m_count || (p.splits > 1 && k_count == 0)) {",
    why: "saves work that adds zeros; new memory is zero, memory that was used before is not",
    ...splits("input_grad"),
  },
  {
    fault: "split that runs into the next",
    file: "shaders/conv2d_weight_grad_implicit_gemm.wgsl",
    find: "min(k_begin + params.pixelsPerSplit, params.n * params.outH * params.outW);",
    replace: "params.n * params.outH * params.outW;",
    why: "right as long as the pixels are not split",
    test: "test/kernels/conv2d.test.ts",
    grep: "^conv2d weight_grad implicit_gemm x=\\[3,23", // small cases are not split
  },
  // Tiles multiplied by tensor cores, emulated.
  {
    fault: "rows of matrices stored too far apart",
    file: "shaders/lib/subgroup_matrix_tile.wgsl",
    find: "store_sums(part.x / ROWS * SUMS_STRIDE",
    replace: "store_sums(part.x * SUMS_STRIDE",
    why: "right where a subgroup has one row of matrices",
    ...matrices("forward"),
  },
  {
    fault: "bias added by each split of a product of matrices",
    file: "shaders/conv2d_subgroup_matrix.wgsl",
    find: "HAS_BIAS && m < params.n * params.outH * params.outW",
    replace: "HAS_BIAS",
    why: "right where sums are whole, as they are in all but small images",
    test: "test/kernels/conv2d_subgroup_matrix.test.ts",
    grep: "forward in splits x=\\[1,5,7,64\\]",
  },
  {
    fault: "operand read as rows, not columns",
    file: "shaders/conv2d_input_grad_subgroup_matrix.wgsl",
    find: "right_of_columns(",
    replace: "right_of_rows(",
    why: "the forward pass has it so; compiles, and stays inside of the tiles",
    ...matrices("input_grad"),
  },
  {
    fault: "tile overwritten while it is multiplied",
    file: "shaders/conv2d_weight_grad_subgroup_matrix.wgsl",
    find: "    workgroupBarrier();\n    #unroll i LOADS_A",
    replace: "    #unroll i LOADS_A",
    why: "the next slice waits in registers already, as if that were enough",
    ...matrices("weight_grad"),
  },
  {
    fault: "barrier missing before the tile is overwritten",
    file: "shaders/matmul_tiled.wgsl",
    find: "      acc_3 += a_column.w * b_row;\n    }\n    workgroupBarrier();",
    replace: "      acc_3 += a_column.w * b_row;\n    }",
    why: "the second barrier of a tile loop is the one that is forgotten",
    ...dense("tiled"),
  },
  {
    fault: "bias once for each split",
    file: "shaders/matmul_tiled.wgsl",
    find: "if (HAS_BIAS && split == 0) {",
    replace: "if (HAS_BIAS) {",
    why: "right as long as the sum is not split",
    ...dense("tiled"),
  },
  {
    fault: "last column of a lane not stored",
    file: "shaders/matmul_tiled.wgsl",
    find: "s < min(j + 4, params.n)",
    replace: "s < min(j + 4, params.n - 1)",
    why: "confuses the count with the last index",
    ...dense("tiled"),
  },
  // Values shared within a subgroup, which software adapters take.
  {
    fault: "one row too many at the bottom",
    file: "shaders/conv2d_subgroup.wgsl",
    find: "up_h$s < p.inH * UP_H",
    replace: "up_h$s <= p.inH * UP_H",
    why: "an off-by-one in a bound, which reads the first row of the next image",
    ...conv("forward", "subgroup"),
  },
  {
    fault: "rows of an image for its columns",
    file: "shaders/conv2d_subgroup.wgsl",
    find: "row - select(0, size.x, row >= size.x),",
    replace: "row - select(0, size.y, row >= size.x),",
    why: "right for square images",
    ...conv("forward", "subgroup"),
  },
  {
    fault: "bias in each part of the sum",
    file: "shaders/conv2d_subgroup.wgsl",
    find: "if (!CHUNKS || k0 + K_QUADS >= k_quads) {",
    replace: "if (!CHUNKS || k0 + K_QUADS >= 0) {",
    why: "right where all of the filter is held at once",
    ...conv("forward", "subgroup"),
  },
  {
    fault: "pixels past the end of a row counted",
    file: "shaders/conv2d_weight_grad_subgroup.wgsl",
    find: " && ow + $k < p.outW;",
    replace: ";",
    why: "right where the width is a multiple of four",
    ...conv("weight_grad", "subgroup"),
  },
  {
    fault: "tail of k not masked",
    file: "shaders/matmul_subgroup.wgsl",
    find: "a_column]), k0 + $k < p.k);",
    replace: "a_column]), true);",
    why: "right where k is a multiple of four",
    ...dense("subgroup"),
  },
  {
    fault: "sums of the turn before kept",
    file: "shaders/matmul_subgroup_stationary.wgsl",
    find: "var acc = array<vec4f, ROWS * QUADS>();",
    replace: "var acc: array<vec4f, ROWS * QUADS>;",
    why: "WGSL sets it to zero in each turn, Dawn only once",
    ...stationary,
  },
  {
    fault: "tail of b not zero",
    file: "shaders/matmul_subgroup_stationary.wgsl",
    find: "held[i] = select(vec4f(), value, k < p.k);",
    replace: "held[i] = value;",
    why: "right where what is held divides k, or a has zeros there",
    ...stationary,
  },
  {
    fault: "last rows written by the next workgroup too",
    file: "shaders/matmul_subgroup_stationary.wgsl",
    find: "row + $r < last_row) &&",
    replace: "row + $r < p.m + 1) &&",
    why: "an off-by-one in a bound, which writes over the next matrix",
    ...stationary,
  },
  {
    fault: "a chunk of elements skipped",
    file: "shaders/lib/chunk.wgsl",
    find: "return Chunk(start + id.x % WG_SIZE, min(start + items, count));",
    replace: "return Chunk(start + id.x % WG_SIZE, min(start + items, count - 1));",
    why: "an off-by-one in a bound",
    test: "test/kernels/leaky_relu.test.ts",
  },
  // Winograd.
  {
    fault: "height for width",
    file: "shaders/conv2d_winograd_output.wgsl",
    find: "let n = tile / p.tilesW / p.tilesH;",
    replace: "let n = tile / p.tilesW / p.tilesW;",
    why: "right for square images, and for a batch of one",
    test: "test/kernels/conv2d_winograd.test.ts",
    grep: "^conv2d winograd forward (x|with the products for GPUs x)=\\[2,5,[67]",
  },
  // Element by element.
  {
    fault: "slope by the sign of dy",
    file: "shaders/leaky_relu_grad.wgsl",
    find: "Value(x[i]) > Value(0.0)",
    replace: "Value(dy[i]) > Value(0.0)",
    why: "the wrong one of two tensors of the same shape",
    test: "test/kernels/leaky_relu.test.ts",
    grep: "^leakyReluGrad",
  },
  {
    fault: "a tie shares its gradient with all",
    file: "shaders/max_pool2d_grad.wgsl",
    find: "select(own > other, own >= other, own_index <= index)",
    replace: "(own >= other)",
    why: "simpler, and the same for random floats",
    test: "test/kernels/max_pool2d.test.ts",
  },
  {
    fault: "moment u without its absolute value",
    file: "shaders/adamax.wgsl",
    find: "max(params.beta2 * u[i], abs(gradient))",
    replace: "max(params.beta2 * u[i], gradient)",
    why: "right for gradients above 0",
    test: "test/kernels/adamax.test.ts",
  },
  {
    fault: "dropout without its scale",
    file: "shaders/dropout.wgsl",
    find: "params.scale * f32(x[i])",
    replace: "f32(x[i])",
    why: "dropout as first published scales at evaluation",
    test: "test/kernels/dropout.test.ts",
  },
  {
    fault: "half a pixel off",
    file: "shaders/affine_warp.wgsl",
    find: "vec2f(x_in, y_in) - 0.5",
    replace: "vec2f(x_in, y_in)",
    why: "pixel centres at whole numbers, as some libraries have them",
    test: "test/kernels/affine_warp.test.ts",
    grep: "^affineWarp (identity|random matrices, images=\\[[1-5],\\d,\\d)",
  },
  // Sums and the loss.
  {
    fault: "barrier missing in the tree of a sum",
    file: "shaders/lib/reduce.wgsl",
    find: "    workgroupBarrier();\n    if (local_index < half) {\n      reduce_floats[local_index] += ",
    replace: "    if (local_index < half) {\n      reduce_floats[local_index] += ",
    why: "unseen while the summands of a lane come from its own subgroup",
    test: "test/kernels/batch_metrics.test.ts",
  },
  {
    fault: "mean of the loss, sum of its gradient",
    file: "shaders/softmax_cross_entropy.wgsl",
    find: "var scale = weight / f32(params.mean_over);",
    replace: "var scale = weight;",
    why: "right for a batch of one; else the learning rate seems too large",
    test: "test/kernels/softmax_cross_entropy.test.ts",
  },
  {
    fault: "rows of a bias gradient counted twice",
    file: "shaders/bias_grad.wgsl",
    find: "row += WG_SIZE / CHANNEL_LANES) {",
    replace: "row += max(WG_SIZE / CHANNEL_LANES / 2, 1)) {",
    why: "a stride that is right for as many channels as lanes",
    test: "test/kernels/bias_grad.test.ts",
  },
  {
    fault: "first split left out",
    file: "shaders/sum_splits.wgsl",
    find: "for (var s = 0u; s < params.splits; s++) {",
    replace: "for (var s = 1u; s < params.splits; s++) {",
    why: "the first one was added before the loop, once",
    test: "test/kernels/bias_grad.test.ts",
  },
  // Beside the shaders.
  {
    fault: "workgroups rounded down",
    file: "src/gpu/context.ts",
    find: "return Math.ceil(a / b);",
    replace: "return Math.max(1, Math.floor(a / b));",
    why: "the last, partly filled workgroup is forgotten",
    ...dense("direct"),
  },
];
