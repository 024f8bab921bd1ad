// The index of a workgroup in a grid that grid1d() folded into y.
fn workgroup_index(workgroup_id: vec3u, num_workgroups: vec3u) -> u32 {
  return workgroup_id.y * num_workgroups.x + workgroup_id.x;
}
