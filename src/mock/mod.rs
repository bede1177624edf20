//! The stand-in upstream.
