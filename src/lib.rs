//! phean
