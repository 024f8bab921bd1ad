// A sum of k_count terms in splits, each of whole slices of TILE_K terms, dealt out evenly: split s sums from
// split_begin(s) up to split_begin(s + 1). Splits beyond the last slice sum nothing.
// Constants: TILE_K.
fn split_begin(split: i32, splits: i32, k_count: i32) -> i32 {
  let slices = (k_count + TILE_K - 1) / TILE_K;
  let slice = split * (slices / splits) + min(split, slices % splits);
  return min(slice * TILE_K, k_count);
}
