/** Deletes a stream for good: the server answers before its files are gone, and may take those of the next one with them. */
import { globSync } from 'node:fs'
import type { JetStreamManager } from '@nats-io/jetstream'
import { until } from './until.ts'

/** @param dir working directory of the server */
export async function deleteStream(jsm: JetStreamManager, name: string, dir: string): Promise<void> {
  await jsm.streams.delete(name)
  const folders = (): string[] => globSync(`data/jetstream/**/streams/${name}`, { cwd: dir })
  await until(`the files of ${name} are gone`, () => folders().length === 0)
}
