//! The memory that an empty tenant costs. One test, so that the process is its own.

use std::alloc::System;

use dunlin_broker::Broker;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TENANTS: usize = 512;
const BYTES_MAX: usize = 16 * 1024;

#[tokio::test(flavor = "current_thread")]
async fn an_empty_tenant_costs_less_than_16_kib() {
    let broker = Broker::builder().start().await.expect("a broker");
    let region = Region::new(ALLOCATOR);
    for number in 0..TENANTS {
        broker.tenant(&format!("tenant-{number}")).expect("room for it");
    }
    let stats = region.change();
    let each = (stats.bytes_allocated - stats.bytes_deallocated) / TENANTS;
    assert!(each < BYTES_MAX, "{each} bytes");
    assert_eq!(broker.tenants().len(), TENANTS + 1);
    broker.shutdown().await.expect("the store closes");
}
