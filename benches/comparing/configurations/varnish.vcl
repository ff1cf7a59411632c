vcl 4.1;

backend origin {
  .host = "@ORIGIN_HOST@";
  .port = "@ORIGIN_PORT@";
}

sub vcl_recv {
  # The built-in steps bypass the cache for requests with Authorization; here they must not.
  return (hash);
}

sub vcl_hash {
  hash_data(req.url);
  return (lookup);
}

sub vcl_backend_response {
  set beresp.ttl = 1h;
  return (deliver);
}
