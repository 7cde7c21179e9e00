// The bench's work in Express: `node app.js PORT`.

'use strict';

const path = require('node:path');

const express = require('express');

const rows = require('./rows.json');

const KEEP_ALIVE_MS = 60000;

// Serve an application on the loopback address, keeping idle connections as long
// as every other server here does.
function listen(app, port) {
  const server = app.listen(port, '127.0.0.1', (error) => {
    if (error) throw error;
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
}

function hello(request, response) {
  response.json({ message: `hello, ${request.params.name}` });
}

function main() {
  const app = express();
  app.set('views', path.join(__dirname, 'templates'));
  app.set('view engine', 'ejs');
  app.use('/static', express.static(process.env.BENCH_STATIC));
  app.get('/api/hello/:name', hello);
  for (let number = 0; number < Number(process.env.BENCH_RULES); number += 1) {
    app.get(`/section-${number}/:name/details`, hello);
  }
  app.get('/page', (request, response) => {
    response.render('page', { title: request.query.title, rows });
  });
  app.post('/form', express.urlencoded({ extended: false }), (request, response) => {
    const fields = Object.keys(request.body).length;
    response.json({ fields, first: request.body.field0 });
  });
  app.post('/length', express.raw({ type: '*/*', limit: '1mb' }), (request, response) => {
    response.type('text').send(String(request.body.length));
  });
  listen(app, Number(process.argv[2]));
}

module.exports = { hello, listen };

if (require.main === module) main();
