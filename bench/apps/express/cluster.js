// The JSON route in several workers, with Node's cluster and its round-robin:
// `node cluster.js PORT WORKERS node|node-express`.

'use strict';

const cluster = require('node:cluster');
const http = require('node:http');

const [port, workers] = process.argv.slice(2, 4).map(Number);
const name = process.argv[4];

const KEEP_ALIVE_MS = 60000;

cluster.schedulingPolicy = cluster.SCHED_RR;

// The port is opened when all are there, so that none has served alone.
function primary() {
  let missing = workers;
  cluster.on('message', () => {
    missing -= 1;
    if (missing > 0) return;
    for (const worker of Object.values(cluster.workers)) worker.send('listen');
  });
  for (let count = 0; count < workers; count += 1) cluster.fork();
  cluster.on('exit', () => process.exit(1));
}

function listener() {
  if (name === 'node-express') {
    const express = require('express');
    const { hello } = require('./app.js');
    return express().get('/api/hello/:name', hello);
  }
  return (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const name = pathname.slice('/api/hello/'.length);
    const body = JSON.stringify({ message: `hello, ${name}` });
    response.setHeader('Content-Type', 'application/json');
    response.setHeader('Content-Length', Buffer.byteLength(body));
    response.end(body);
  };
}

function worker() {
  const server = http.createServer(listener());
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  process.on('message', () => server.listen(port, '127.0.0.1'));
  process.send('ready');
}

if (cluster.isPrimary) primary();
else worker();
