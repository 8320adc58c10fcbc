// A moving picture for those who have no camera at hand.

export function testPicture(name) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
  const context = canvas.getContext('2d');
  const hue = name.charCodeAt(0) * 47;
  const draw = (time) => {
    context.fillStyle = `hsl(${hue} 45% 32%)`;
    context.fillRect(0, 0, 320, 240);
    for (let ball = 0; ball < 5; ball++) {
      context.fillStyle = `hsl(${hue + ball * 24} 70% 62%)`;
      context.beginPath();
      context.arc(160 + 110 * Math.sin(time / 900 + ball), 120 + 70 * Math.cos(time / 700 + ball * 2), 20, 0, 2 * Math.PI);
      context.fill();
    }
  };
  draw(0);
  setInterval(() => draw(performance.now()), 66);
  return canvas.captureStream(15);
}
