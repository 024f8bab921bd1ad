/** A recording made by hand: two steps of two layers, with gaps whose reasons are known. */
import type { GpuSpan, HostSpan, ProfiledDispatch, Recording } from "../../src/gpu/profiler.ts";
import type { HostKind } from "../../src/gpu/device_core.ts";

/** y [2,2] = x [2,8] w [8,2]: 64 operations, 64 + 64 + 16 bytes. */
export const DENSE: ProfiledDispatch = {
  label: "dense head.weight",
  scope: "head forward",
  shader: "matmul_tiled",
  constants: { TILE_M: 32 },
  params: { m: 2, n: 2, k: 8 },
  tensors: [
    { label: "x", shape: [2, 8], dtype: "float32", access: "read" },
    { label: "head.weight", shape: [8, 2], dtype: "float32", access: "read" },
    { label: "head.y", shape: [2, 2], dtype: "float32", access: "read_write" },
  ],
  workgroups: [1, 1, 1],
};

/** y [4] = leakyRelu(x [4]). */
export const RELU: ProfiledDispatch = {
  label: "leakyRelu relu.y",
  scope: "relu forward",
  shader: "leaky_relu",
  constants: {},
  params: { count: 4, slope: 0.3 },
  tensors: [
    { label: "x", shape: [4], dtype: "float32", access: "read" },
    { label: "relu.y", shape: [4], dtype: "float32", access: "read_write" },
  ],
  workgroups: [1, 1, 1],
};

const host = (kind: HostKind, startMs: number, endMs: number, label: string = kind): HostSpan => ({
  ...{ kind, label, startMs, endMs },
});

const gpu = (submission: number, dispatch: number, startMs: number, endMs: number): GpuSpan => ({
  ...{ kind: "dispatch", label: dispatch === 0 ? DENSE.label : RELU.label },
  ...{ submission, dispatch, startMs, endMs },
  encodeStartMs: 10 + 20 * submission + dispatch / 4,
  encodeEndMs: 10.25 + 20 * submission + dispatch / 4,
});

/**
 * Step 0 is encoded at 10, runs from 12 to 20; step 1 is encoded at 30, runs from 32 to 40, and all is done at 41.
 * Between them the host reads until 28, then computes until 30.
 */
export const RECORDING: Recording = {
  startedAt: "2026-01-02T03:04:05.000Z",
  wallMs: 42,
  host: [
    host("phase", 9, 41, "steps"),
    host("upload", 9.5, 9.75),
    host("encode", 10, 11),
    host("submit", 11, 12),
    host("read", 12, 28),
    host("encode", 30, 31),
    host("submit", 31, 32),
    host("wait", 32, 41),
  ],
  gpu: [gpu(0, 0, 12, 17), gpu(0, 1, 18, 20), gpu(1, 0, 32, 37), gpu(1, 1, 37, 40)],
  dispatches: [DENSE, RELU],
  programs: [
    {
      ...{ label: "step", commands: 2, naiveBytes: 48, plannedBytes: 32, liveBytes: 32 },
      lives: [
        { label: "head.y", bytes: 16, buffer: 0, offsetBytes: 0, first: 0, last: 1 },
        { label: "relu.y", bytes: 16, buffer: 1, offsetBytes: 0, first: 1, last: 1 },
      ],
    },
  ],
  submissions: [
    { label: "step", programs: [0], startMs: 11, endMs: 12 },
    { label: "step", programs: [0], startMs: 31, endMs: 32 },
  ],
  memory: [
    { atMs: 0, liveBytes: 0, allocatedBytes: 0 },
    { atMs: 5, liveBytes: 100, allocatedBytes: 200 },
  ],
  clock: { method: "shared", uncertaintyMs: 0, driftPpm: 0 },
};
