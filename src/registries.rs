//! The public defaults: the only place that names a registry's host.
