// The items of an invocation where it loops over several of `count`: first, first + WG_SIZE, ... below end. Those of a
// workgroup lie next to each other, which a GPU wants of each turn, and a CPU of all: Mesa's llvmpipe takes half as long
// for Adamax as with turns that are a whole grid apart.
struct Chunk {
  first: u32,
  end: u32,
}

fn chunk_of(count: u32, id: vec3u, num_workgroups: vec3u) -> Chunk {
  let grid = num_workgroups.x * WG_SIZE;
  let items = (count + grid - 1) / grid * WG_SIZE; // of a workgroup
  let start = id.x / WG_SIZE * items;
  return Chunk(start + id.x % WG_SIZE, min(start + items, count));
}
