//! Whether a recorded history of calls can be true.
