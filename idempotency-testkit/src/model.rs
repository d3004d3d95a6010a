//! The moves explored, and any store driven beside them.
