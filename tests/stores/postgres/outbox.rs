//! Publishing within transactions.
