import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gateOf, safeProviderUrl, UrlRefused } from '../../../services/mail/base/url-gate.ts'

const GRAPH = gateOf('https://graph.microsoft.com/v1.0')
const LOCAL = gateOf('http://127.0.0.1:4000/v1.0')

describe('the URL gate', () => {
  it('lets the links of the configured provider through, unchanged', () => {
    for (const [text, gate] of [
      ["https://graph.microsoft.com/v1.0/me/mailFolders('AAMk=')/messages/delta?$deltatoken=a%2Bb", GRAPH],
      ['https://GRAPH.microsoft.com:443/v1.0/me/mailFolders/delta?$skiptoken=x', GRAPH],
      ['http://127.0.0.1:4000/v1.0/me?next=https://evil.example', LOCAL],
    ] as const) {
      assert.equal(safeProviderUrl(text, gate).origin, gate.origin)
    }
  })

  it('refuses every other address', () => {
    const hostile = [
      '',
      'me/messages',
      '/v1.0/me',
      '//graph.microsoft.com/v1.0/me',
      'http://graph.microsoft.com/v1.0/me',
      'https://graph.microsoft.com:444/v1.0/me',
      'https://graph.microsoft.com.evil.example/v1.0/me',
      'https://evil.example/v1.0/me',
      'https://evil.example/https://graph.microsoft.com/v1.0/me',
      'https://graph.microsoft.com@evil.example/v1.0/me',
      'https://user:pw@graph.microsoft.com/v1.0/me',
      'https://user@graph.microsoft.com/v1.0/me',
      'https://evil.example#@graph.microsoft.com/v1.0/me',
      'https://graph.microsoft.com/v1.0/me#fragment',
      'https://graph.microsoft.com/beta/me',
      'https://graph.microsoft.com/v1.0',
      'https://graph.microsoft.com/v1.0/../beta/me',
      'https://graph.microsoft.com/v1.0/%2e%2e/beta/me',
      'https://graph.microsoft.com/v1.0/.%2E/beta/me',
      'https://graph.microsoft.com/v1.01/me',
      'https:\\\\graph.microsoft.com\\v1.0\\me',
      'https://graph.microsoft.com\\@evil.example/v1.0/me',
      'https://evil.example\\.graph.microsoft.com/v1.0/me',
      ' https://graph.microsoft.com/v1.0/me',
      'https://graph.microsoft.com/v1.0/me\r\nHost: evil.example',
      'https://graph.microsoft.com\t/v1.0/me',
      'https://graph.micro\nsoft.com/v1.0/me',
      'https://graph.microsoft.com/v1.0/me\u0000',
      'https://graph.microsoft。com.evil.example/v1.0/me',
      'https://gгaph.microsoft.com/v1.0/me',
      'https://[::ffff:127.0.0.1]/v1.0/me',
      'https://127.0.0.1/v1.0/me',
      'https://169.254.169.254/v1.0/me',
      'http://169.254.169.254/latest/meta-data',
      'http://localhost/v1.0/me',
      'file:///v1.0/me',
      'ftp://graph.microsoft.com/v1.0/me',
      'javascript://graph.microsoft.com/v1.0/%0aalert(1)',
      'data:text/html,https://graph.microsoft.com/v1.0/me',
      'blob:https://graph.microsoft.com/v1.0/me',
      'wss://graph.microsoft.com/v1.0/me',
      'https://',
      'https:///v1.0/me',
      `https://graph.microsoft.com/v1.0/${'a'.repeat(9_000)}`,
    ]
    for (const text of hostile) assert.throws(() => safeProviderUrl(text, GRAPH), UrlRefused, JSON.stringify(text))
  })

  it('lets plain http go to loopback only, and only when that is configured', () => {
    const gate = gateOf('http://provider.example/v1.0')
    assert.throws(() => safeProviderUrl('http://provider.example/v1.0/me', gate), UrlRefused)
    assert.throws(() => safeProviderUrl('http://127.0.0.1:4001/v1.0/me', LOCAL), UrlRefused)
    assert.throws(() => safeProviderUrl('http://127.0.0.1.evil.example:4000/v1.0/me', LOCAL), UrlRefused)
  })

  it('does not repeat the address in its error, because it may carry a token', () => {
    assert.throws(
      () => safeProviderUrl('https://evil.example/?token=canary', GRAPH),
      (error: UrlRefused) => !error.message.includes('canary'),
    )
  })
})
