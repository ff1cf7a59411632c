//! Pingora as a caching proxy: `peer-pingora LISTEN ORIGIN`. One thread, `MemCache`, no access log.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use pingora_cache::{CacheKey, CacheMetaDefaults, MemCache, RespCacheable, filters};
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

static STORE: LazyLock<MemCache> = LazyLock::new(MemCache::new);

/// An hour for a 200, as the gateway keeps the same answer; nothing else is kept.
const DEFAULTS: CacheMetaDefaults = CacheMetaDefaults::new(
    |status| (status == 200).then_some(std::time::Duration::from_secs(3600)),
    0,
    0,
);

struct Cached {
    origin: String,
}

#[async_trait]
impl ProxyHttp for Cached {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.origin, false, String::new())))
    }

    fn request_cache_filter(&self, session: &mut Session, (): &mut ()) -> Result<()> {
        session.cache.enable(&*STORE, None, None, None, None);
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, (): &mut ()) -> Result<CacheKey> {
        Ok(CacheKey::new(session.req_header().raw_path(), ""))
    }

    /// `false`: the SDK's Authorization must not keep an answer out of the cache.
    fn response_cache_filter(
        &self,
        _: &Session,
        response: &ResponseHeader,
        (): &mut (),
    ) -> Result<RespCacheable> {
        Ok(filters::resp_cacheable(
            None,
            response.clone(),
            false,
            &DEFAULTS,
        ))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(origin)) = (arguments.next(), arguments.next()) else {
        eprintln!("peer-pingora LISTEN ORIGIN");
        std::process::exit(2);
    };
    let settings = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let configuration = Arc::clone(&server.configuration);
    let mut service = http_proxy_service(&configuration, Cached { origin });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}
