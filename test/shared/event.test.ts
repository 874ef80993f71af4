import assert from 'node:assert/strict'
import { test } from 'node:test'
import { v5 } from 'uuid'
import { eventId } from '#shared/event.ts'

test('three event ids are pinned: a change of the identity would publish every mail a second time', () => {
  const ids = [
    eventId('user_abc123', 'GOOGLE', 'primary', '18c1234567890abcd'),
    eventId('user_abc123', 'MICROSOFT', 'work', 'AAMkAGI2TG93AAA='),
    eventId('auth0|Zoë "q" \\ \u2028😀', 'GOOGLE', 'primary', '18c1234567890abcd'),
  ]
  assert.deepEqual(ids, [
    '96075455-433e-5241-918b-de04d3e68f66',
    'b52bafe0-e176-5aaa-b3fd-5a73d62d7c0e',
    '93f7655f-def7-53c8-bbd8-19140a9d9174',
  ])
})

test('user, provider, inbox and message all belong to the identity', () => {
  const others = [
    eventId('v', 'GOOGLE', 'primary', 'm'),
    eventId('u', 'MICROSOFT', 'primary', 'm'),
    eventId('u', 'GOOGLE', 'work', 'm'),
    eventId('u', 'GOOGLE', 'primary', 'n'),
  ]
  assert.equal(new Set([eventId('u', 'GOOGLE', 'primary', 'm'), ...others]).size, 5)
})

test('the identity is the UUIDv5 of the package', () => {
  const namespace = '6f1c2f5e-3c0b-5d0a-9a57-2d6d61696c73'
  for (let n = 0; n < 1_000; n++) {
    const name = ['ada', 'GOOGLE', 'primary', `m${n}😀`] as const
    assert.equal(eventId(...name), v5(JSON.stringify(name), namespace))
  }
})
