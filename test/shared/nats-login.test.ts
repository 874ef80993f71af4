import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isHere } from '#shared/nats-login.ts'

test('only an address that is this machine counts as loopback', () => {
  for (const url of [
    'nats://localhost:4222',
    '127.0.0.1:4222',
    'nats://127.9.9.9',
    'tls://[::1]:4222',
    'localhost:1, [::1]:2',
  ])
    assert.equal(isHere(url), true, url)
  for (const url of [
    'nats://localhost.example.com:4222',
    'nats://127.0.0.1.example.com',
    'nats://127.example.com',
    'nats://10.0.0.1',
    'nats://[::2]:4222',
    'nats://[::1:2]:4222',
    'nats.example.com',
    'nats://localhost:4222,nats://nats.example.com:4222',
  ])
    assert.equal(isHere(url), false, url)
})
