"use client";

import { useRouter } from "next/navigation";

export function Links() {
  const router = useRouter();
  return (
    <nav>
      <button onClick={() => router.push("/")}>Home</button>
      <button onClick={() => router.push("/checkout")}>Checkout</button>
      <button onClick={() => (window.RejoinderQueue ||= []).push(["open"])}>Ask us</button>
    </nav>
  );
}
