/**
 * The messages of ONNX that we write, out of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto: same names, types and
 * numbers, without what a network of ours never has (sequences, maps, sparse tensors, training).
 */
import protobuf from "protobufjs";
import { elementCount } from "../tensor.ts";

const SCHEMA = `
syntax = "proto2";
package onnx;

message AttributeProto {
  enum AttributeType { UNDEFINED = 0; FLOAT = 1; INT = 2; INTS = 7; }
  optional string name = 1;
  optional float f = 2;
  optional int64 i = 3;
  repeated int64 ints = 8;
  optional AttributeType type = 20;
}
message NodeProto {
  repeated string input = 1;
  repeated string output = 2;
  optional string name = 3;
  optional string op_type = 4;
  repeated AttributeProto attribute = 5;
}
message StringStringEntryProto {
  optional string key = 1;
  optional string value = 2;
}
message TensorProto {
  enum DataLocation { DEFAULT = 0; EXTERNAL = 1; }
  repeated int64 dims = 1;
  optional int32 data_type = 2;
  optional string name = 8;
  optional bytes raw_data = 9;
  repeated StringStringEntryProto external_data = 13;
  optional DataLocation data_location = 14;
}
message TensorShapeProto {
  message Dimension {
    oneof value {
      int64 dim_value = 1;
      string dim_param = 2;
    }
  }
  repeated Dimension dim = 1;
}
message TypeProto {
  message Tensor {
    optional int32 elem_type = 1;
    optional TensorShapeProto shape = 2;
  }
  optional Tensor tensor_type = 1;
}
message ValueInfoProto {
  optional string name = 1;
  optional TypeProto type = 2;
}
message GraphProto {
  repeated NodeProto node = 1;
  optional string name = 2;
  repeated TensorProto initializer = 5;
  repeated ValueInfoProto input = 11;
  repeated ValueInfoProto output = 12;
}
message OperatorSetIdProto {
  optional string domain = 1;
  optional int64 version = 2;
}
message ModelProto {
  optional int64 ir_version = 1;
  optional string producer_name = 2;
  optional GraphProto graph = 7;
  repeated OperatorSetIdProto opset_import = 8;
  repeated StringStringEntryProto metadata_props = 14;
}
`;

/** The wire type of messages and bytes. */
const LENGTH_DELIMITED = 2;

/** `TensorProto.DataType.FLOAT`, which the messages hold as a number. */
export const FLOAT = 1;

export interface OnnxAttribute {
  readonly name: string;
  readonly type: "FLOAT" | "INT" | "INTS";
  readonly f?: number;
  readonly i?: number;
  readonly ints?: readonly number[];
}

export interface OnnxNode {
  readonly name: string;
  readonly op_type: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly OnnxAttribute[];
}

export interface OnnxTensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly data_type: typeof FLOAT;
  readonly data_location?: "EXTERNAL";
  readonly external_data?: readonly OnnxEntry[];
}

export interface OnnxEntry {
  readonly key: string;
  readonly value: string;
}

export interface OnnxValue {
  readonly name: string;
  readonly type: {
    readonly tensor_type: {
      readonly elem_type: typeof FLOAT;
      readonly shape: {
        readonly dim: readonly ({ readonly dim_value: number } | { readonly dim_param: string })[];
      };
    };
  };
}

export interface OnnxModel {
  readonly ir_version: number;
  readonly producer_name: string;
  readonly opset_import: readonly { readonly domain: string; readonly version: number }[];
  readonly metadata_props: readonly OnnxEntry[];
  readonly graph: {
    readonly name: string;
    readonly node: readonly OnnxNode[];
    readonly input: readonly OnnxValue[];
    readonly output: readonly OnnxValue[];
  };
}

/**
 * The bytes of an ONNX file in pieces, so that one tensor at a time is in memory. A message's fields may come in any order,
 * and a message in a message is a tag, a length and its fields: https://protobuf.dev/programming-guides/encoding/
 * @param tensors the weights; they end the file
 * @param read gives the bytes of one, unless they are in a file of their own
 */
export async function* encodeOnnx(
  { graph, ...model }: OnnxModel,
  tensors: readonly OnnxTensor[],
  read?: (tensor: OnnxTensor) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const { root } = protobuf.parse(SCHEMA, { keepCase: true });
  const encode = (type: string, message: object): Uint8Array => {
    const found = root.lookupType(`onnx.${type}`);
    return found.encode(found.fromObject(message)).finish();
  };
  const open = (type: string, field: string, length: number): Uint8Array => {
    const { id = 0 } = root.lookupType(`onnx.${type}`).fields[field] ?? {};
    return protobuf.Writer.create()
      .uint32((id << 3) | LENGTH_DELIMITED)
      .uint32(length)
      .finish();
  };
  const heads = tensors.map((tensor) => {
    const fields = encode("TensorProto", tensor);
    const dataBytes = read ? 4 * elementCount(tensor.dims) : 0;
    const data = read ? open("TensorProto", "raw_data", dataBytes) : new Uint8Array();
    const length = fields.length + data.length + dataBytes;
    const bytes = Buffer.concat([open("GraphProto", "initializer", length), fields, data]);
    return { tensor, bytes, dataBytes };
  });
  const rest = encode("GraphProto", graph);
  const length = heads.reduce((sum, head) => sum + head.bytes.length + head.dataBytes, rest.length);
  yield encode("ModelProto", model);
  yield open("ModelProto", "graph", length);
  yield rest;
  for (const { tensor, bytes } of heads) {
    yield bytes;
    if (read) yield await read(tensor);
  }
}
