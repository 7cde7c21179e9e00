// One worker that forwards to the primary, with Node's cluster and
// http-proxy-middleware: `node core.js PORT CORE_PORT`.

'use strict';

const cluster = require('node:cluster');
const http = require('node:http');

const express = require('express');
const { createProxyMiddleware } = require('http-proxy-middleware');

const { hello, listen } = require('./app.js');

const [port, corePort] = process.argv.slice(2).map(Number);

// What exists once: it answers on a port of its own.
function primary() {
  const app = express();
  app.get('/core/:name', hello);
  listen(app, corePort);
  cluster.fork();
  cluster.on('exit', () => process.exit(1));
}

function worker() {
  const app = express();
  app.use(
    createProxyMiddleware({
      target: `http://127.0.0.1:${corePort}`,
      pathFilter: '/core',
      agent: new http.Agent({ keepAlive: true }),
    }),
  );
  listen(app, port);
}

if (cluster.isPrimary) primary();
else worker();
