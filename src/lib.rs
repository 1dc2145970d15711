//! phean: a beanstalkd-style work queue inside redis-server.
pub mod codec;
pub mod queue;
