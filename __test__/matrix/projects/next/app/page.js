export default function Page() {
  return <p>Trunkline</p>
}
