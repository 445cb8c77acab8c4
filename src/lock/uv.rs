//! The lock of uv.
