//! The stand-in upstream s handle.
