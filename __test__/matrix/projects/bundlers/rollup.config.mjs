export default {
  input: 'plain.mjs',
  output: { file: 'out/rollup.mjs', format: 'es' },
  external: [/^trunkline(\/|$)/],
}
